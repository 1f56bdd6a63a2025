"""Each requirement of each tier: what falls when it is missing, and by which code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from registry_world import (
    CERTIFICATE,
    DAY,
    DIGEST,
    MANIFEST,
    NOW,
    OTHER_DIGEST,
    OTHER_PIN,
    PEER,
    PIN,
    SPIFFE,
    TOKEN,
    World,
    drift,
    evidence,
    pem,
    provider,
    revocation,
    signed_manifest,
    witness,
)

from sovereign_ext.config.documents import Document
from sovereign_ext.config.model import Deployment
from sovereign_ext.config.standing import Peer
from sovereign_ext.config.trust import DigestBasis, Drift, EvidenceKind, Tier
from sovereign_ext.registry import tiers
from sovereign_ext.registry.manifest import Resource, manifest_of

OPEN, ATTESTED, WITNESSED, SEALED = Tier
Change = Callable[[World], Any]


def test_everything_in_order_is_sealed() -> None:
    """Expected and observed, with every document named that the tier rests on."""
    world = World()
    for peer in (None, PEER):
        standing = world.standing(peer=peer)
        assert (standing.tier, standing.reasons) == (SEALED, ())
        assert (standing.model_hash, standing.model_hash_basis) == (DIGEST, DigestBasis.SIGNED_MANIFEST)
        assert standing.drift is Drift.STABLE
        assert [(v.witness, v.scope, v.statement) for v in standing.vouches] == [
            ("fda", "clinical", world.digest("w1"))
        ]
        assert standing.documents == (
            world.documents["manifest.json"].digest,
            world.digest("p1"),
            world.digest("w1"),
            world.digest("d1"),
            TOKEN,
        )


def replaced_statement(name: str, make: Callable[..., Any], by: str, **changes: Any) -> Change:
    return lambda world: world.sign(name, make(**changes), by)


def of_the_token(**changes: Any) -> Change:
    return lambda world: setattr(world.source, "token", evidence(**changes))


def set_in(*path: str | int, to: Any) -> Change:
    def change(world: World) -> None:
        place: Any = world.data
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def without_manifest(world: World) -> None:
    del world.model["manifest"]
    world.model["digest_basis"] = "measured"


def other_manifest(world: World) -> None:
    """The publisher signed other files than the operator measured."""
    world.put(signed_manifest(manifest_of("m", [Resource("weights", "33" * 32)])))
    world.model["digest_basis"] = "measured"


def without_digest(world: World) -> None:
    """The publisher signed something, the operator does not say that it is this."""
    del world.model["digest"], world.model["digest_basis"]


def revoked(name: str, by: str, key: str) -> Change:
    return lambda world: world.sign("r1", revocation(world.digest(name), by=by), key)


def revoked_manifest(world: World) -> None:
    world.sign("r1", revocation(world.documents["manifest.json"].digest, by="acme"), "publisher")


def by_the_operator(world: World) -> None:
    world.trust["witnesses"][0]["organisation"] = "hospital"


def only_spiffe(world: World) -> None:
    world.provider["tls"] = {"spiffe_id": SPIFFE}


def spiffe(world: World) -> None:
    """Both pins and a SPIFFE id are enforced; the provider bound the SPIFFE id."""
    world.provider["tls"] = {"spki_pins": [PIN], "spiffe_id": SPIFFE}
    world.sign("p1", provider(spki_pins=(), spiffe_id=SPIFFE), "provider")


CASES: dict[str, tuple[Change, Tier, tuple[str, ...]]] = {
    # attested
    "plain HTTP": (
        set_in("providers", 0, "endpoint", to="http://llm.example.org/v1"),
        OPEN,
        (tiers.NO_TLS,),
    ),
    "no manifest": (without_manifest, OPEN, (tiers.NO_MANIFEST,)),
    "manifest revoked": (revoked_manifest, OPEN, (tiers.MANIFEST_INVALID,)),
    "manifest of other files": (other_manifest, OPEN, (tiers.DIGEST_NOT_SIGNED,)),
    "no digest": (
        without_digest,
        OPEN,
        (
            tiers.DIGEST_NOT_SIGNED,
            tiers.NO_PROVIDER_STATEMENT,
            tiers.TOO_FEW_WITNESSES,
            tiers.WITNESS_OTHER_DIGEST,
            tiers.DRIFT_UNKNOWN,
        ),
    ),
    "no provider statement": (lambda w: w.drop("p1"), OPEN, (tiers.NO_PROVIDER_STATEMENT,)),
    "provider statement on another digest": (
        replaced_statement("p1", provider, "provider", digest=OTHER_DIGEST),
        OPEN,
        (tiers.NO_PROVIDER_STATEMENT,),
    ),
    "provider statement from the future": (
        replaced_statement("p1", provider, "provider", not_before=NOW + DAY),
        OPEN,
        (tiers.NO_PROVIDER_STATEMENT,),
    ),
    "provider statement expired": (
        replaced_statement("p1", provider, "provider", not_after=NOW),
        OPEN,
        (tiers.PROVIDER_STATEMENT_EXPIRED,),
    ),
    "provider statement revoked": (
        revoked("p1", "own", "provider"),
        OPEN,
        (tiers.PROVIDER_STATEMENT_REVOKED,),
    ),
    "statement binds another pin": (
        replaced_statement("p1", provider, "provider", spki_pins=(OTHER_PIN,)),
        OPEN,
        (tiers.IDENTITY_NOT_BOUND,),
    ),
    "a second pin that no statement binds": (
        set_in("providers", 0, "tls", to={"spki_pins": [PIN, OTHER_PIN]}),
        OPEN,
        (tiers.IDENTITY_NOT_BOUND,),
    ),
    "statement binds a SPIFFE id that is not enforced": (
        replaced_statement("p1", provider, "provider", spiffe_id=SPIFFE),
        OPEN,
        (tiers.IDENTITY_NOT_BOUND,),
    ),
    "no identity enforced": (set_in("providers", 0, "tls", to=None), OPEN, (tiers.IDENTITY_NOT_PINNED,)),
    # witnessed
    "no witness": (lambda w: w.drop("w1"), ATTESTED, (tiers.TOO_FEW_WITNESSES,)),
    "one witness of two": (set_in("trust", "min_witnesses", to=2), ATTESTED, (tiers.TOO_FEW_WITNESSES,)),
    "witness statement expired": (
        replaced_statement("w1", witness, "fda", not_after=NOW),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_EXPIRED),
    ),
    "witness statement from the future": (
        replaced_statement("w1", witness, "fda", not_before=NOW + 61),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_YET_VALID),
    ),
    "witness statement revoked": (
        revoked("w1", "fda", "fda"),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_REVOKED),
    ),
    "witness statement on another digest": (
        replaced_statement("w1", witness, "fda", digest=OTHER_DIGEST),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_OTHER_DIGEST),
    ),
    "witness without that scope": (
        replaced_statement("w1", witness, "fda", scope="iso"),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_WITHOUT_SCOPE),
    ),
    "witness is the gateway's operator": (
        by_the_operator,
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "witness is the provider": (
        set_in("trust", "witnesses", 0, "organisation", to="cloud"),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "witness is the publisher": (
        set_in("trust", "witnesses", 0, "organisation", to="acme"),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "witness is the model's origin": (
        set_in("models", 0, "origin", to={"organisation": "fda"}),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "witness of an unknown organisation": (
        set_in("trust", "witnesses", 0, "organisation", to=None),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "unknown organisation of the gateway": (
        set_in("trust", "organisation", to=None),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "unknown organisation of the provider": (
        set_in("providers", 0, "origin", to={}),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "witness with the provider's key": (
        lambda w: w.put(Document("provider.pem", pem("fda"))) and w.sign("p1", provider(), "fda"),
        ATTESTED,
        (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_NOT_INDEPENDENT),
    ),
    "no drift report": (lambda w: w.drop("d1"), ATTESTED, (tiers.DRIFT_UNKNOWN,)),
    "drift report of another deployment's model": (
        replaced_statement("d1", drift, "lab", digest=OTHER_DIGEST),
        ATTESTED,
        (tiers.DRIFT_UNKNOWN,),
    ),
    "drifted": (
        replaced_statement("d1", drift, "lab", posture=Drift.DRIFTED),
        ATTESTED,
        (tiers.DRIFT_EXCEEDED,),
    ),
    "watched where only stable will do": (
        lambda w: (w.trust.update(max_drift="stable"), w.sign("d1", drift(posture=Drift.WATCH), "lab")),
        ATTESTED,
        (tiers.DRIFT_EXCEEDED,),
    ),
    "drift report revoked": (revoked("d1", "lab", "lab"), ATTESTED, (tiers.DRIFT_UNKNOWN,)),
    # sealed
    "no evidence configured": (
        set_in("providers", 0, "evidence", to=None),
        WITNESSED,
        (tiers.NO_EVIDENCE,),
    ),
    "no evidence yet": (lambda w: setattr(w.source, "token", None), WITNESSED, (tiers.NO_EVIDENCE,)),
    "evidence of another kind": (of_the_token(kind=EvidenceKind.NITRO), WITNESSED, (tiers.NO_EVIDENCE,)),
    "evidence expired": (of_the_token(expires_at_s=NOW), WITNESSED, (tiers.EVIDENCE_EXPIRED,)),
    "evidence too old for us": (of_the_token(issued_at_s=NOW - 300), WITNESSED, (tiers.EVIDENCE_EXPIRED,)),
    "evidence from the future": (of_the_token(issued_at_s=NOW + 61), WITNESSED, (tiers.EVIDENCE_EXPIRED,)),
    "debug mode": (of_the_token(debug=True), WITNESSED, (tiers.EVIDENCE_DEBUG,)),
    "another measurement": (of_the_token(measurement="m-2"), WITNESSED, (tiers.EVIDENCE_MEASUREMENT,)),
    "evidence bound to nothing": (of_the_token(bound_spki=None), WITNESSED, (tiers.EVIDENCE_UNBOUND,)),
    "evidence for another key": (
        of_the_token(bound_spki=OTHER_PIN),
        WITNESSED,
        (tiers.EVIDENCE_OTHER_KEY,),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("peer", [None, PEER], ids=["expected", "observed"])
def test_what_is_missing_lowers_the_tier_by_its_code(name: str, peer: Peer | None) -> None:
    """Alone, before a connection and on one: nothing else is reported, and nothing higher is reached."""
    change, tier, reasons = CASES[name]
    world = World()
    change(world)
    standing = world.standing(peer=peer)
    assert (standing.tier, standing.reasons) == (tier, reasons)


def no_change(_: World) -> None:
    pass


ON_THE_CONNECTION: dict[str, tuple[Change, Peer, Tier, tuple[str, ...]]] = {
    "nothing was seen of the peer": (
        no_change,
        Peer(),
        OPEN,
        (tiers.PEER_NOT_OBSERVED, tiers.EVIDENCE_OTHER_KEY),
    ),
    "no certificate": (
        no_change,
        replace(PEER, certificate_sha256=""),
        OPEN,
        (tiers.PEER_NOT_OBSERVED, tiers.EVIDENCE_OTHER_KEY),
    ),
    "no TLS version": (no_change, replace(PEER, tls_version=""), OPEN, (tiers.PEER_NOT_OBSERVED,)),
    "a certificate known to hold another key": (
        lambda w: w.source.certificates.update({CERTIFICATE: OTHER_PIN}),
        PEER,
        OPEN,
        (tiers.PEER_MISMATCH, tiers.EVIDENCE_OTHER_KEY),
    ),
    "another SPIFFE id": (
        spiffe,
        replace(PEER, uri_san=f"{SPIFFE}/else"),
        OPEN,
        (tiers.PEER_MISMATCH,),
    ),
    "no SPIFFE id": (spiffe, PEER, OPEN, (tiers.PEER_MISMATCH,)),
    "a certificate never seen before": (
        lambda w: w.source.certificates.clear(),
        PEER,
        WITNESSED,
        (tiers.EVIDENCE_OTHER_KEY,),
    ),
    "evidence for another certificate": (
        of_the_token(bound_spki=None, bound_certificate="cd" * 32),
        PEER,
        WITNESSED,
        (tiers.EVIDENCE_OTHER_KEY,),
    ),
}


@pytest.mark.parametrize("name", ON_THE_CONNECTION)
def test_what_the_connection_shows_counts(name: str) -> None:
    """An expectation is not enough: the peer that answered must have been the one expected."""
    change, peer, tier, reasons = ON_THE_CONNECTION[name]
    world = World()
    change(world)
    standing = world.standing(peer=peer)
    assert (standing.tier, standing.reasons) == (tier, reasons)


def test_every_code_is_reached() -> None:
    """No code is there that no case shows."""
    codes = {value for name, value in vars(tiers).items() if name.isupper() and not name.startswith("_")}
    shown = {code for _, _, reasons in CASES.values() for code in reasons}
    shown |= {code for _, _, _, reasons in ON_THE_CONNECTION.values() for code in reasons}
    assert shown == codes


# -- what is enough ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "peer"),
    [
        (spiffe, replace(PEER, uri_san=SPIFFE)),
        (of_the_token(bound_spki=None, bound_certificate=CERTIFICATE), PEER),
        (of_the_token(bound_spki=OTHER_PIN, bound_certificate=CERTIFICATE), PEER),
    ],
    ids=["SPIFFE id", "bound to the certificate", "bound to the certificate and a key"],
)
def test_other_ways_to_be_sealed(change: Change, peer: Peer) -> None:
    """A provider may be known by SPIFFE id, evidence be bound to the certificate itself."""
    world = World()
    change(world)
    assert world.standing().tier is SEALED
    assert world.standing(peer=peer).tier is SEALED


def test_evidence_bound_to_an_unknown_certificate_is_not_expected_to_fit() -> None:
    """Nothing is sent in the hope that the key will turn out to be the pinned one."""
    world = World()
    world.source.token = evidence(bound_spki=None, bound_certificate="cd" * 32)
    assert world.standing().reasons == (tiers.EVIDENCE_OTHER_KEY,)


def test_with_a_spiffe_id_only_the_key_is_seen_on_the_connection() -> None:
    """Before it there is nothing to compare evidence with."""
    world = World()
    spiffe(world)
    only_spiffe(world)
    peer = replace(PEER, uri_san=SPIFFE)
    assert world.standing().tier is SEALED
    assert world.standing(peer=peer).tier is SEALED
    world.source.token = evidence(bound_spki=OTHER_PIN)
    assert world.standing().tier is SEALED
    assert world.standing(peer=peer).reasons == (tiers.EVIDENCE_OTHER_KEY,)


def test_why_there_is_no_evidence_is_said_by_who_fetched_it() -> None:
    """A token that was refused leaves its reason; none at all is ``no_evidence``."""
    world = World()
    world.source.token, world.source.why = None, tiers.EVIDENCE_DEBUG
    for peer in (None, PEER):
        standing = world.standing(peer=peer)
        assert (standing.tier, standing.reasons) == (WITNESSED, (tiers.EVIDENCE_DEBUG,))


def test_while_a_key_is_replaced_two_statements_cover_two_pins() -> None:
    """The old one names the old key, the new one the new key; either may answer."""
    world = World()
    world.provider["tls"] = {"spki_pins": [PIN, OTHER_PIN]}
    world.sign("p2", provider(spki_pins=(OTHER_PIN,)), "provider")
    assert world.standing().tier is SEALED
    assert {world.digest("p1"), world.digest("p2")} <= set(world.standing().documents)


def test_a_peer_whose_key_was_never_seen_is_the_one_that_envoy_let_in() -> None:
    """Envoy closes connections to any other key, so ``attested`` needs no more."""
    world = World()
    world.source.certificates.clear()
    assert world.standing(peer=PEER).tier is WITNESSED


# -- witnesses -----------------------------------------------------------------------------------------------


def test_organisations_are_counted_not_statements() -> None:
    """Two statements of one witness, or two witnesses of one organisation, are one voice."""
    world = World()
    world.trust["min_witnesses"] = 2
    world.sign("w2", witness(intended_use="more"), "fda")
    assert world.standing().reasons == (tiers.TOO_FEW_WITNESSES,)
    world.sign("w3", witness(witness="tuv"), "tuv-ed")
    assert world.standing().tier is SEALED
    world.trust["witnesses"][1]["organisation"] = "fda"
    assert world.standing().reasons == (tiers.TOO_FEW_WITNESSES,)


def test_reasons_are_given_only_for_what_would_have_mattered() -> None:
    """With enough good statements, old ones lying about are nobody's concern."""
    world = World()
    world.sign("w0", witness(not_before=NOW - 9 * DAY, not_after=NOW - DAY), "fda")
    assert world.standing().reasons == ()


def test_scopes_need_a_valid_statement_by_a_witness_for_them_on_this_digest() -> None:
    """A witness that is not independent still vouches: scopes are the operator's allow-list, not a tier."""
    world = World()
    world.sign("w2", witness(witness="tuv", scope="iso"), "tuv-ed")
    assert world.standing().scopes == {"clinical", "iso"}
    by_the_operator(world)
    assert world.standing().scopes == {"clinical", "iso"}
    world.trust["witnesses"][1]["scopes"] = ["clinical"]
    assert world.standing().scopes == {"clinical"}
    world.sign("w1", witness(digest=OTHER_DIGEST), "fda")
    assert world.standing().scopes == set()


def test_overlapping_statements_are_one_vouch_the_longest() -> None:
    """While a new statement overlaps the old one, the row names one of them, and always the same."""
    world = World()
    later = world.sign("w2", witness(not_after=NOW + 60 * DAY), "fda")
    assert [v.statement for v in world.standing().vouches] == [later]
    assert world.standing(NOW + 40 * DAY).scopes == {"clinical"}


def test_a_statement_replaces_those_it_supersedes_for_good() -> None:
    """From its first second on, and even when it is gone itself."""
    world = World()
    old = world.digest("w1")
    new = world.sign("w2", witness(supersedes=(old,), not_before=NOW, not_after=NOW + DAY), "fda")
    assert [v.statement for v in world.standing(NOW - 61).vouches] == [old]
    assert [v.statement for v in world.standing(NOW).vouches] == [new]
    assert world.standing(NOW + DAY).reasons[:2] == (tiers.TOO_FEW_WITNESSES, tiers.WITNESS_EXPIRED)


def test_the_same_model_under_another_name_has_the_same_witnesses() -> None:
    """The digest is what is vouched for."""
    world = World()
    world.data["models"].append({**world.model, "id": "alias"})
    world.data["deployments"].append({**world.data["deployments"][0], "id": "dep2", "model": "alias"})
    registry = world.build()
    assert registry.assess(world.config.deployments[1], NOW).tier is SEALED


# -- drift ---------------------------------------------------------------------------------------------------


def test_the_worst_of_the_newest_reports_counts() -> None:
    """Of each observer and metric; an older report of the same does not."""
    world = World()
    world.sign("d0", drift(posture=Drift.DRIFTED, measured_at=NOW - DAY), "lab")
    assert world.standing().drift is Drift.STABLE
    world.sign("d2", drift(posture=Drift.WATCH, metric="toxicity", measured_at=NOW - DAY), "lab")
    assert (world.standing().drift, world.standing().tier) == (Drift.WATCH, SEALED)
    assert {world.digest("d1"), world.digest("d2")} <= set(world.standing().documents)
    assert world.digest("d0") not in world.standing().documents


def test_of_two_reports_of_one_second_the_worse_counts() -> None:
    """However the files are named."""
    world = World()
    world.sign("d0", drift(posture=Drift.DRIFTED), "lab")
    assert world.standing().drift is Drift.DRIFTED
    world.drop("d0")
    world.sign("d9", drift(posture=Drift.DRIFTED), "lab")
    assert world.standing().drift is Drift.DRIFTED


def test_once_the_newest_report_lapsed_older_ones_do_not_come_back() -> None:
    """Nothing is known then."""
    world = World()
    world.sign("d0", drift(measured_at=NOW - DAY, valid_for_s=90 * DAY), "lab")
    world.sign("d1", drift(valid_for_s=7_200), "lab")
    assert world.standing(NOW + 3_600 - 1).drift is Drift.STABLE
    assert world.standing(NOW + 3_600).drift is Drift.UNKNOWN


def test_a_report_of_one_deployment_is_about_that_one() -> None:
    """The other deployment of the model stays as it was."""
    world = World()
    world.data["deployments"].append({**world.data["deployments"][0], "id": "dep2"})
    world.sign("d2", drift(deployment="dep2", posture=Drift.DRIFTED), "lab")
    registry = world.build()
    one, two = (registry.assess(deployment, NOW) for deployment in world.config.deployments)
    assert (one.drift, two.drift) == (Drift.STABLE, Drift.DRIFTED)


# -- strangers -----------------------------------------------------------------------------------------------


def test_a_deployment_of_another_configuration_has_no_standing() -> None:
    """Unknown never passes."""
    stranger = Deployment(id="else", model="m", provider="p", upstream_model="m")
    standing = World().build().assess(stranger, NOW)
    assert standing.tier is OPEN
    assert standing.reasons
    assert standing.model_hash is None


def test_the_demo_digest_is_the_manifest_s() -> None:
    """What the world takes for granted."""
    assert MANIFEST.digest == DIGEST
