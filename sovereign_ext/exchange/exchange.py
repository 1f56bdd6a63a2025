"""One client request: what was decided about it, what was tried, and that it is written down exactly once.

An exchange lives from the client's headers to the end of its router stream. Attempts refer to it; it does not
know how they are transported. Its one invariant: ``settle`` gives the facts of the call once and never again,
so a call has one outcome entry however it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from sovereign_ext.attest.commit import DELIVERED_RESPONSE, Commitment
from sovereign_ext.attest.facts import AttemptFact, CallFacts, DecisionFacts, Digests, Result
from sovereign_ext.config.model import Deployment, Policy, Provider
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.standing import Standing
from sovereign_ext.config.trust import Price
from sovereign_ext.errors import ApiError
from sovereign_ext.exchange.billing import NOTHING, Bill, Charge, bill, margin_text
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.shadows import ShadowResult
from sovereign_ext.exchange.steps import Emit
from sovereign_ext.openai.envelope import error_object
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.policy.cost import price_terms
from sovereign_ext.policy.evaluate import Evaluation
from sovereign_ext.policy.facts import Facts, evaluation_facts, request_facts
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.providers.base import Adapter, Usage
from sovereign_ext.routing.health import Probe
from sovereign_ext.tenants.ledger import Used
from sovereign_ext.tenants.resolve import Identity


class Planned(msgspec.Struct, frozen=True):
    """One element of the plan: a deployment with everything needed to try it."""

    candidate: Candidate
    adapter: Adapter

    @property
    def deployment(self) -> Deployment:
        return self.candidate.deployment

    @property
    def provider(self) -> Provider:
        return self.candidate.provider


class Considered(msgspec.Struct, frozen=True):
    """What a decision or a denial by policy was made from."""

    request: RequestFacts
    evaluation: Evaluation
    shadows: tuple[ShadowResult, ...] = ()

    def facts(self) -> ConsideredFacts:
        """The request, every candidate and every shadow, as entries record them."""
        shadows = tuple(shadow.facts() for shadow in self.shadows)
        return request_facts(self.request), evaluation_facts(self.evaluation), shadows


ConsideredFacts = tuple[Facts, tuple[Facts, ...], tuple[Facts, ...]]
"""Of the request, of the candidates, of the shadows."""


class Decision(msgspec.Struct, frozen=True):
    """Who may answer, in which order. The last step before anything costs money."""

    request: Request
    policy: Policy
    policy_digest: bytes
    plan: tuple[Planned, ...]


@dataclass(slots=True, eq=False)
class Exchange:
    """State of one call. ``key`` is the 32-byte secret behind the call's hiding commitments."""

    decision_id: str
    started: Moment
    endpoint: Endpoint
    identity: Identity
    snapshot: Snapshot
    key: bytes
    policy_name: str = ""
    model: str = ""
    decision: Decision | None = None
    attempts: list[AttemptFact] = field(default_factory=list)
    client_request: bytes | None = None  # its commitment's digest
    redacted_request: bytes | None = None  # … to the request without the credentials that were in it
    findings: int = 0  # places of credentials, once the log was told of them
    finding_index: int | None = None
    considered: Considered | None = None  # None: refused before the policy was asked
    decision_index: int | None = None  # of the decision's own entry, under strict audit
    last_error: ApiError | None = None
    probes: tuple[Probe, ...] = ()
    broken: Callable[[bool], None] | None = None
    """Set when a provider's connection broke after content was given to Envoy. Called with true when Envoy asks
    for the next element, so the client has seen nothing, with false when the client's stream has ended."""
    undelivered: Callable[[Callable[[Emit], None]], None] | None = None
    """Set when an attempt's stream ended with a whole answer settled or being settled. Called with whom to give it
    to when Envoy asks for the next element: the connection broke between the answer's last byte and its delivery."""
    active: int = 0  # attempt streams that are open: a failed one may end after the next has begun
    ended: bool = False  # the router stream is over
    client_gone: bool = False  # … before the call was settled
    settled: bool = False
    used: Used = NOTHING.used  # once it is settled
    limit_headers: tuple[tuple[str, str], ...] = ()  # how its limits stood when it was admitted or refused
    _facts: ConsideredFacts | None = None

    def commitment(self, item: str) -> Commitment:
        return Commitment(self.key, item)

    def _considered_facts(self) -> ConsideredFacts:
        """The same for the decision's entry and the outcome's, so made once."""
        if self._facts is None:
            self._facts = ({}, (), ()) if self.considered is None else self.considered.facts()
        return self._facts

    def decided(self, now: Moment) -> DecisionFacts:
        """The facts of the decision. There must be one."""
        decision, considered = self.decision, self.considered
        assert decision is not None
        assert considered is not None
        assert self.client_request is not None
        request, candidates, shadows = self._considered_facts()
        return DecisionFacts(
            decision_id=self.decision_id,
            tenant=self.identity.tenant.id,
            endpoint=self.endpoint.value,
            model=self.model,
            policy=decision.policy.id,
            policy_digest=decision.policy_digest,
            audit=decision.policy.audit.value,
            request=request,
            candidates=candidates,
            plan=tuple(planned.deployment.id for planned in decision.plan),
            decided_ms=now.wall_ms,
            client_request=self.client_request,
            shadows=shadows,
        )

    def refuse(self, now: Moment, result: Result, error: ApiError) -> CallFacts | None:
        """The facts of a call that ends in ``error`` with no provider's answer; ``None`` if it is settled."""
        delivered = self.commitment(DELIVERED_RESPONSE)
        delivered.update(error_object(error))
        return self.settle(
            now, result, status=error.status, error_code=error.code, delivered=delivered.digest()
        )

    def settle(
        self,
        now: Moment,
        result: Result,
        *,
        status: int,
        error_code: str | None = None,
        answered: Planned | None = None,
        standing: Standing | None = None,
        usage: Usage | None = None,
        charge: Charge | None = None,
        sent: bytes | None = None,
        received: bytes | None = None,
        delivered: bytes | None = None,
    ) -> CallFacts | None:
        """The facts of the whole call, the first time it is asked; ``None`` ever after.

        ``standing`` is what the connection of the one that ``answered`` showed. Who
        ``answered`` charges for it; ``charge`` says more precisely what for, or who charges without having answered.
        """
        if self.settled:
            return None
        self.settled = True
        usage = usage or Usage()
        margin = self.identity.tenant.margin_percent
        if charge is None and answered is not None:
            charge = Charge(answered.candidate, usage, 0, complete=result is Result.ANSWERED)
        prompt_tokens = 0 if self.considered is None else self.considered.request.prompt_tokens
        found = bill(charge, prompt_tokens, margin)
        self.used = found.used
        price = charge.by.deployment.price if charge else None
        digests = Digests(
            client_request=self.client_request,
            redacted_request=self.redacted_request,
            sent_request=sent,
            provider_response=received,
            delivered_response=delivered,
        )
        return self._call_facts(
            now, result, found, price, usage, digests, answered, standing, status, error_code
        )

    def as_lost(self, dearest: Planned, estimate_nano: int) -> CallFacts:
        """What is to be written down of the call should the gateway die before it is settled: billed at its estimate,
        in billionths of a dollar, which is that of the ``dearest``. Its end is not known yet, nor is the index of its
        decision."""
        found = Bill(NOTHING.used, None, estimate_nano, estimated=True)
        digests = Digests(client_request=self.client_request, redacted_request=self.redacted_request)
        return self._call_facts(
            self.started,
            Result.LOST,
            found,
            dearest.deployment.price,
            Usage(),
            digests,
            None,
            None,
            0,
            error_code="call_lost",
        )

    def _call_facts(  # noqa: PLR0917 - all of them, from two places
        self,
        now: Moment,
        result: Result,
        found: Bill,
        price: Price | None,
        usage: Usage,
        digests: Digests,
        answered: Planned | None,
        standing: Standing | None,
        status: int,
        error_code: str | None,
    ) -> CallFacts:
        decision = self.decision
        policy = self.snapshot.policies.get(self.policy_name)
        request, candidates, shadows = self._considered_facts()
        observed = standing if answered and standing else Standing()
        return CallFacts(
            decision_id=self.decision_id,
            tenant=self.identity.tenant.id,
            endpoint=self.endpoint.value,
            stream=decision.request.stream if decision else False,
            result=result,
            status=status,
            error_code=error_code,
            started_ms=self.started.wall_ms,
            finished_ms=now.wall_ms,
            policy=self.policy_name,
            policy_digest=self.snapshot.policy_digests.get(self.policy_name),
            audit=policy.audit.value if policy else "",
            model=self.model,
            model_hash=observed.model_hash,
            model_hash_basis=observed.model_hash_basis.value,
            deployment=answered.deployment.id if answered else None,
            provider=answered.provider.id if answered else None,
            tier_required=policy.required_tier.value if policy else "",
            tier_observed=observed.tier.value if answered else "none",
            tier_reasons=observed.reasons,
            witnesses=tuple((vouch.witness, vouch.scope, vouch.statement) for vouch in observed.vouches),
            evidence_documents=observed.documents,
            request=request,
            candidates=candidates,
            shadows=shadows,
            cost_nano_usd=found.cost_nano_usd,
            price_source=None if price is None or found.billed_nano_usd is None else price.source,
            price=None if price is None or found.billed_nano_usd is None else price_terms(price),
            billed_nano_usd=found.billed_nano_usd,
            margin_percent=None
            if found.billed_nano_usd is None
            else margin_text(self.identity.tenant.margin_percent),
            estimated=found.estimated,
            decision_index=self.decision_index,
            findings=self.findings,
            finding_index=self.finding_index,
            attempts=tuple(self.attempts),
            key=self.identity.key_id,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            digests=digests,
        )
