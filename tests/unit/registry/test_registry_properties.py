"""Random registries, asked at random moments in random order, against the rules written down a second time.

The rules here look at every statement at every question and remember nothing, so they also show that what a registry
remembers between questions never outlives its moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_world import (
    CERTIFICATE,
    DIGEST,
    NOW,
    OTHER_DIGEST,
    OTHER_PIN,
    PIN,
    World,
    drift,
    evidence,
    provider,
    revocation,
    witness,
)

from sovereign_ext.config.standing import Peer, Standing
from sovereign_ext.config.trust import Drift, Tier
from sovereign_ext.registry.evidence import VerifiedEvidence

pytestmark = pytest.mark.services

SKEW = 3
SPAN = 12
"""Everything happens within so many seconds, so that limits meet."""

moments = st.integers(NOW - SPAN, NOW + SPAN)
lengths = st.sampled_from([90, 40, 2 * SPAN, SPAN, 5, 1])


def mostly(good: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The good value six times out of seven: a tier takes many things that are right at once."""
    return st.integers(0, 6).flatmap(lambda n: st.just(good) if n < 6 else st.sampled_from(others))


def seldom(choice: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 6).flatmap(lambda n: st.none() if n < 6 else choice)


digests = mostly(DIGEST, OTHER_DIGEST)
scopes = mostly("clinical", "iso")
beginnings = st.one_of(st.just(NOW - SPAN), moments)
KEYS = {"fda": "fda", "tuv": "tuv-ed"}


@dataclass(frozen=True)
class Said:
    """A statement as it was drawn, and when its signer took it back."""

    statement: Any
    revoked_at: int | None


@st.composite
def said(draw: st.DrawFn, make: Any, **choices: Any) -> Said:
    fields = {name: draw(choice) for name, choice in choices.items()}
    if make is not drift:
        fields["not_before"] = draw(beginnings)
        fields["not_after"] = fields["not_before"] + draw(lengths)
    return Said(make(**fields), draw(seldom(moments)))


@st.composite
def tokens(draw: st.DrawFn) -> VerifiedEvidence:
    issued = draw(beginnings)
    return evidence(
        issued_at_s=issued,
        expires_at_s=issued + draw(lengths),
        debug=draw(mostly(False, True)),
        measurement=draw(mostly("m-1", "m-2")),
        bound_spki=draw(mostly(PIN, OTHER_PIN, None)),
        bound_certificate=draw(st.sampled_from([CERTIFICATE, None])),
    )


@dataclass(frozen=True)
class Case:
    """Everything that was drawn."""

    organisations: dict[str, str | None]
    allowed: dict[str, list[str]]
    min_witnesses: int
    max_drift: Drift
    pins: list[str]
    manifest_revoked_at: int | None
    witnesses: list[Said]
    providers: list[Said]
    drifts: list[Said]
    token: VerifiedEvidence | None
    max_age_s: int
    spki: str | None

    def world(self) -> World:
        world = World()
        for name in ("w1", "p1", "d1"):
            world.drop(name)
        for entry in world.trust["witnesses"]:
            entry["organisation"] = self.organisations[entry["id"]]
            entry["scopes"] = self.allowed[entry["id"]]
        world.trust.update(
            min_witnesses=self.min_witnesses, max_drift=self.max_drift.value, clock_skew_s=SKEW
        )
        world.provider["tls"] = {"spki_pins": self.pins}
        world.provider["evidence"]["max_age_s"] = self.max_age_s
        world.provider["evidence"]["refresh_s"] = 1
        world.source.token = self.token
        world.source.certificates = {} if self.spki is None else {CERTIFICATE: self.spki}
        groups = (("w", self.witnesses), ("p", self.providers), ("d", self.drifts))
        for letter, group in groups:
            for index, each in enumerate(group):
                party = getattr(each.statement, {"w": "witness", "p": "provider", "d": "observer"}[letter])
                key = {**KEYS, "own": "provider", "lab": "lab"}[party]
                digest = world.sign(f"{letter}{index}", each.statement, key)
                if each.revoked_at is not None:
                    world.sign(
                        f"r{letter}{index}", revocation(digest, by=party, revoked_at=each.revoked_at), key
                    )
        if self.manifest_revoked_at is not None:
            manifest = world.documents["manifest.json"].digest
            taken_back = revocation(manifest, by="acme", revoked_at=self.manifest_revoked_at)
            world.sign("rm", taken_back, "publisher")
        return world


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = st.sampled_from(["fda", "tuv"])
    pins = mostly([PIN], [OTHER_PIN], [PIN, OTHER_PIN])
    # The same statement twice would be one document, whose revocation takes back both.
    unique = {"unique_by": lambda each: repr(each.statement)}
    return Case(
        organisations={
            "fda": draw(mostly("fda", "tuv", "cloud", "hospital", None)),
            "tuv": draw(mostly("tuv", "fda", "cloud", "hospital", None)),
        },
        allowed={name: draw(mostly(["clinical"], ["iso"], ["clinical", "iso"])) for name in ("fda", "tuv")},
        min_witnesses=draw(mostly(1, 2)),
        max_drift=draw(mostly(Drift.WATCH, Drift.STABLE, Drift.DRIFTED)),
        pins=draw(pins),
        manifest_revoked_at=draw(seldom(moments)),
        witnesses=draw(
            st.lists(
                said(witness, witness=names, scope=scopes, digest=digests), min_size=1, max_size=5, **unique
            )
        ),
        providers=draw(
            st.lists(
                said(provider, spki_pins=pins.map(tuple), digest=digests), min_size=1, max_size=3, **unique
            )
        ),
        drifts=draw(
            st.lists(
                said(
                    drift,
                    posture=mostly(Drift.STABLE, Drift.WATCH, Drift.DRIFTED),
                    metric=st.sampled_from(["a", "b"]),
                    digest=digests,
                    measured_at=beginnings,
                    valid_for_s=lengths,
                ),
                min_size=1,
                max_size=4,
                **unique,
            )
        ),
        token=draw(mostly(True, False).flatmap(lambda there: tokens() if there else st.none())),
        max_age_s=draw(lengths),
        spki=draw(mostly(PIN, OTHER_PIN, None)),
    )


# -- the rules, a second time ----------------------------------------------------------------------------------


def taken_back(each: Said, now: float) -> bool:
    return each.revoked_at is not None and now + SKEW >= each.revoked_at


def holds(each: Said, now: float) -> bool:
    start, end = each.statement.not_before, each.statement.not_after
    return not taken_back(each, now) and now + SKEW >= start and now < end


def scopes_at(case: Case, now: float) -> set[str]:
    return {
        each.statement.scope
        for each in case.witnesses
        if holds(each, now)
        and each.statement.digest == DIGEST
        and each.statement.scope in case.allowed[each.statement.witness]
    }


def drift_at(case: Case, now: float) -> Drift:
    worst = []
    for metric in ("a", "b"):
        known = [
            each.statement
            for each in case.drifts
            if each.statement.metric == metric
            and each.statement.digest == DIGEST
            and not taken_back(each, now)
            and each.statement.measured_at <= now + SKEW
        ]
        newest = max((report.measured_at for report in known), default=None)
        of_that_second = [report for report in known if report.measured_at == newest]
        if of_that_second:
            report = max(of_that_second, key=lambda report: report.posture.rank)
            if now < report.measured_at + report.valid_for_s:
                worst.append(report.posture)
    return max(worst, key=lambda posture: posture.rank, default=Drift.UNKNOWN)


def bound_pins(case: Case, now: float) -> set[str]:
    return {
        pin
        for each in case.providers
        if holds(each, now) and each.statement.digest == DIGEST
        for pin in each.statement.spki_pins
    }


def tier_at(case: Case, now: float, observed: bool) -> Tier:
    if case.manifest_revoked_at is not None and now + SKEW >= case.manifest_revoked_at:
        return Tier.OPEN
    if not set(case.pins) <= bound_pins(case, now):
        return Tier.OPEN
    if observed and case.spki is not None and case.spki not in case.pins:
        return Tier.OPEN
    voices = {
        case.organisations[each.statement.witness]
        for each in case.witnesses
        if holds(each, now)
        and each.statement.digest == DIGEST
        and each.statement.scope in case.allowed[each.statement.witness]
    }
    drifted = drift_at(case, now)
    if len(voices - {"cloud", "hospital", None}) < case.min_witnesses:
        return Tier.ATTESTED
    if drifted is Drift.UNKNOWN or drifted.rank > case.max_drift.rank:
        return Tier.ATTESTED
    token = case.token
    if token is None or token.debug or token.measurement != "m-1":
        return Tier.WITNESSED
    if token.issued_at_s > now + SKEW or now >= min(token.expires_at_s, token.issued_at_s + case.max_age_s):
        return Tier.WITNESSED
    if observed:
        bound = token.bound_certificate == CERTIFICATE or (
            token.bound_spki is not None and token.bound_spki == case.spki
        )
    else:
        bound = token.bound_spki in case.pins or (
            token.bound_certificate is not None and case.spki in case.pins
        )
    return Tier.SEALED if bound else Tier.WITNESSED


@given(
    cases(),
    st.lists(st.tuples(moments | moments.map(lambda at: at + 0.5), st.booleans()), min_size=1, max_size=20),
)
@settings(max_examples=200)
def test_a_registry_answers_as_the_rules_say(case: Case, questions: list[tuple[float, bool]]) -> None:
    """Tier, scopes and drift; reasons are there exactly when there is something above."""
    world = case.world()
    registry, deployment = world.build(), world.config.deployments[0]
    peer = Peer(CERTIFICATE, "", "TLSv1.3")
    for now, observed in questions:
        standing = registry.assess(deployment, now, peer if observed else None)
        assert standing.tier is tier_at(case, now, observed)
        assert standing.scopes == scopes_at(case, now)
        assert standing.drift is drift_at(case, now)
        assert (standing.reasons == ()) == (standing.tier is Tier.SEALED)
        _rests_on_documents(world, standing)


def _rests_on_documents(world: World, standing: Standing) -> None:
    """Whatever a standing rests on can be shown, and nothing is named twice."""
    known = {document.digest for document in world.documents.values()}
    if world.source.token is not None:
        known.add(world.source.token.document)
    assert set(standing.documents) <= known
    assert len(set(standing.documents)) == len(standing.documents)
    assert {vouch.statement for vouch in standing.vouches} <= set(standing.documents)


@given(cases(), moments, st.data())
@settings(max_examples=60)
def test_taking_support_away_never_raises_a_tier(case: Case, now: int, data: st.DataObject) -> None:
    """A provider's or witness's statement and evidence only ever help."""
    world = case.world()
    before = world.standing(now)
    support = [path for path in world.documents if path.startswith(("statements/w", "statements/p"))]
    for path in data.draw(st.sets(st.sampled_from(support)) if support else st.just(set())):
        del world.documents[path]
    if data.draw(st.booleans()):
        world.source.token = None
    after = world.standing(now)
    assert after.tier.rank <= before.tier.rank
    assert after.scopes <= before.scopes
