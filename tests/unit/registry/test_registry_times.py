"""Every time limit, to the second: the last moment before it and the first one after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from registry_world import DAY, NOW, PEER, World, drift, evidence, provider, revocation, witness

from sovereign_ext.config.trust import Drift, Tier
from sovereign_ext.registry import tiers

SKEW = 60
"""``clock_skew_s`` as it is by default."""


def put(name: str, make: Callable[..., Any], by: str, **changes: Any) -> Callable[[World], Any]:
    return lambda world: world.sign(name, make(**changes), by)


def revoke(name: str, by: str, key: str) -> Callable[[World], Any]:
    return lambda world: world.sign("r1", revocation(world.digest(name), by=by, revoked_at=NOW), key)


def revoke_manifest(world: World) -> None:
    digest = world.documents["manifest.json"].digest
    world.sign("r1", revocation(digest, by="acme", revoked_at=NOW), "publisher")


def supersede(world: World) -> None:
    """By a statement for another scope, so that the old scope is gone."""
    new = witness(scope="iso", witness="fda", supersedes=(world.digest("w1"),), not_before=NOW)
    world.trust["witnesses"][0]["scopes"] = ["clinical", "iso"]
    world.trust["witnesses"][0]["organisation"] = None
    world.sign("w2", new, "fda")


Turn = tuple[Callable[[World], Any], float, tuple[str, ...], tuple[str, ...]]
FEW = tiers.TOO_FEW_WITNESSES
TURNS: dict[str, Turn] = {
    "witness statement begins": (
        put("w1", witness, "fda", not_before=NOW),
        NOW - SKEW,
        (FEW, tiers.WITNESS_NOT_YET_VALID),
        (),
    ),
    "witness statement ends": (
        put("w1", witness, "fda", not_after=NOW),
        NOW,
        (),
        (FEW, tiers.WITNESS_EXPIRED),
    ),
    "witness statement is revoked": (
        revoke("w1", "fda", "fda"),
        NOW - SKEW,
        (),
        (FEW, tiers.WITNESS_REVOKED),
    ),
    "provider statement begins": (
        put("p1", provider, "provider", not_before=NOW),
        NOW - SKEW,
        (tiers.NO_PROVIDER_STATEMENT,),
        (),
    ),
    "provider statement ends": (
        put("p1", provider, "provider", not_after=NOW),
        NOW,
        (),
        (tiers.PROVIDER_STATEMENT_EXPIRED,),
    ),
    "provider statement is revoked": (
        revoke("p1", "own", "provider"),
        NOW - SKEW,
        (),
        (tiers.PROVIDER_STATEMENT_REVOKED,),
    ),
    "manifest is revoked": (revoke_manifest, NOW - SKEW, (), (tiers.MANIFEST_INVALID,)),
    "drift was measured": (
        put("d1", drift, "lab", measured_at=NOW),
        NOW - SKEW,
        (tiers.DRIFT_UNKNOWN,),
        (),
    ),
    "drift report ends": (
        put("d1", drift, "lab", measured_at=NOW - DAY, valid_for_s=DAY),
        NOW,
        (),
        (tiers.DRIFT_UNKNOWN,),
    ),
    "a newer drift report begins": (
        put("d2", drift, "lab", measured_at=NOW, posture=Drift.DRIFTED),
        NOW - SKEW,
        (),
        (tiers.DRIFT_EXCEEDED,),
    ),
    "drift report is revoked": (revoke("d1", "lab", "lab"), NOW - SKEW, (), (tiers.DRIFT_UNKNOWN,)),
    "evidence expires": (
        lambda w: setattr(w.source, "token", evidence(issued_at_s=NOW - 100, expires_at_s=NOW)),
        NOW,
        (),
        (tiers.EVIDENCE_EXPIRED,),
    ),
    "evidence grows too old": (
        lambda w: setattr(w.source, "token", evidence(issued_at_s=NOW - 300, expires_at_s=NOW + DAY)),
        NOW,
        (),
        (tiers.EVIDENCE_EXPIRED,),
    ),
    "evidence begins": (
        lambda w: setattr(w.source, "token", evidence(issued_at_s=NOW, expires_at_s=NOW + DAY)),
        NOW - SKEW,
        (tiers.EVIDENCE_EXPIRED,),
        (),
    ),
}


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("peer", [None, PEER], ids=["expected", "observed"])
def test_a_limit_holds_to_the_second(name: str, peer: Any) -> None:
    """Before the turn one answer, from the turn on the other, in either order of asking."""
    change, turn, before, after = TURNS[name]
    world = World()
    world.sign("p1", provider(not_before=NOW - 9 * DAY), "provider")
    world.source.token = evidence(issued_at_s=NOW - 100, expires_at_s=NOW + 100)
    world.trust["clock_skew_s"] = SKEW
    change(world)
    registry, deployment = world.build(), world.config.deployments[0]

    def reasons(now_s: float) -> tuple[str, ...]:
        standing = registry.assess(deployment, now_s, peer)
        assert (standing.tier is Tier.SEALED) == (standing.reasons == ())
        return standing.reasons

    for moment, expected in (
        (turn - 1, before),
        (turn - 0.001, before),
        (turn, after),
        (turn + 1, after),
        (turn - 0.001, before),
    ):
        assert reasons(moment) == expected, moment


def test_without_skew_clocks_are_taken_at_their_word() -> None:
    """``clock_skew_s: 0``."""
    world = World()
    world.trust["clock_skew_s"] = 0
    world.sign("w1", witness(not_before=NOW), "fda")
    assert world.standing(NOW - 1).tier is Tier.ATTESTED
    assert world.standing(NOW).tier is Tier.SEALED


def test_a_superseded_statement_lasts_until_its_successor_begins() -> None:
    """With the skew that the successor's clock is allowed."""
    world = World()
    supersede(world)
    assert world.standing(NOW - SKEW - 1).scopes == {"clinical"}
    assert world.standing(NOW - SKEW).scopes == {"iso"}


def test_a_revocation_outweighs_an_expiry() -> None:
    """The graver of two reasons is given."""
    world = World()
    world.sign("w1", witness(not_after=NOW), "fda")
    revoke("w1", "fda", "fda")(world)
    assert tiers.WITNESS_REVOKED in world.standing(NOW + 1).reasons
