"""What policies would decide: ``EvaluatePolicy`` of ``sovereign.management.v1.PolicyService``.

It asks the same functions as a call does (``exchange.decide``, ``routing.plan.preview``), so it cannot
say anything else than the call would be told; it claims no probe, sends nothing and writes nothing down. A tenant
sees the policies it may name, and of the deployments what the rules expect, not what they found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from sovereign_ext._gen.sovereign.management.v1 import policies_pb2
from sovereign_ext.config.model import Capability, Deployment, Policy, Tenant
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import ApiError, CallerError
from sovereign_ext.exchange.decide import consider, facts_of
from sovereign_ext.exchange.exchange import Considered
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.shadows import ShadowResult
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.openai.tokens import MOST
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, RuleFailure
from sovereign_ext.policy.select import deployments_of, require_eligible
from sovereign_ext.routing.health import Health
from sovereign_ext.routing.plan import Plan, preview, refusal
from sovereign_ext.tenants.directory import Directory

AT_ONCE_BYTES: Final = 16 * 1024
"""What is larger is read on another thread, one question at a time: from a Struct to a body it is a slow way."""

_ENDPOINTS: Final = {Capability.CHAT: Endpoint.CHAT, Capability.EMBEDDINGS: Endpoint.EMBEDDINGS}


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The method. ``clock`` gives the moment of an evaluation; its monotonic half is the clock of ``health``."""

    directory: Directory
    health: Health
    clock: Callable[[], Moment]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def evaluate_policy(self, request: policies_pb2.EvaluatePolicyRequest, call: Call) -> Reply:
        """What a call of the caller's would be decided, were it made now."""
        caller = call.caller
        snapshot, policy = caller.snapshot, _named(caller, request.name)
        tenant = _tenant(caller, self.directory, request.tenant)
        model, facts = await self._read(request, tenant.id if tenant else "")
        deployments = _deployments(snapshot, tenant, model)
        now = self.clock()
        considered = consider(snapshot, policy, deployments, facts, self.health, now)
        eligible = [each.deployment for each in considered.evaluation.eligible]
        order = preview(policy, eligible, self.health, now.mono)
        answer = policies_pb2.EvaluatePolicyResponse(
            policy=f"policies/{policy.id}",
            policy_digest=_digest(snapshot, policy.id),
            model=model,
            request=policies_pb2.RequestSize(
                capability=facts.capability.value,
                prompt_tokens=facts.prompt_tokens,
                max_tokens=facts.max_tokens,
            ),
            deployments=_evaluated(caller, deployments, considered, order),
            order=[deployment.id for deployment in order.order],
            refusal=_refusal(considered, policy, model, order),
            shadows=[_shadow(each) for each in considered.shadows] if caller.is_admin else [],
        )
        return Reply(answer, FRESH)

    async def _read(
        self, request: policies_pb2.EvaluatePolicyRequest, tenant: str
    ) -> tuple[str, RequestFacts]:
        if request.ByteSize() <= AT_ONCE_BYTES:
            return _asked(request, tenant)
        async with self._turn:
            return await asyncio.to_thread(_asked, request, tenant)

    def methods(self) -> Methods:
        """The method by its name in the contract."""
        return {"EvaluatePolicy": self.evaluate_policy}


# -- who may see what ----------------------------------------------------------------------------------------------


def _visible(caller: Caller) -> Iterable[str]:
    there = caller.snapshot.policies
    return there if caller.tenant is None else [each for each in caller.tenant.policies if each in there]


def _named(caller: Caller, name: str) -> Policy:
    policy = names.policy_id(name)
    if policy not in _visible(caller):
        raise CallerError(404, "there is no such policy", code="policy_not_found")
    return caller.snapshot.policies[policy]


def _tenant(caller: Caller, directory: Directory, asked: str) -> Tenant | None:
    """As whom the call would be made; ``None`` for an admin who did not say."""
    if caller.tenant is not None:
        if asked not in ("", caller.tenant.id):
            raise CallerError(403, "only admins may ask for another tenant", code="tenant_not_allowed")
        return caller.tenant
    tenant = directory.tenant(asked) if asked else None
    if asked and tenant is None:
        raise CallerError(404, "there is no such tenant", code="tenant_not_found")
    return tenant


def _deployments(snapshot: Snapshot, tenant: Tenant | None, model: str) -> tuple[Deployment, ...]:
    if tenant is not None:
        return deployments_of(snapshot, tenant, model)
    if model not in snapshot.models:
        raise CallerError(404, "there is no such model", code="model_not_found", param="model")
    return snapshot.deployments_by_model.get(model, ())


# -- the request ---------------------------------------------------------------------------------------------------


def _asked(request: policies_pb2.EvaluatePolicyRequest, tenant: str) -> tuple[str, RequestFacts]:
    """Model and size of the call in question. Raises 400, for a body as the model API would."""
    try:
        capability = Capability(request.capability or Capability.CHAT)
    except ValueError:
        raise _invalid(f"capability must be one of {', '.join(Capability)}") from None
    if not request.HasField("request"):
        if not request.model:
            raise _invalid("model is needed")
        limit = request.max_tokens if request.HasField("max_tokens") else None
        if request.prompt_tokens < 0 or (limit is not None and limit < 0):
            raise _invalid("prompt_tokens and max_tokens must not be negative")
        if capability is Capability.EMBEDDINGS:
            limit = 0
        size = min(request.prompt_tokens, MOST)
        return request.model, RequestFacts(
            capability, size, None if limit is None else min(limit, MOST), 1, tenant
        )
    if request.prompt_tokens or request.HasField("max_tokens"):
        raise _invalid("give either request or prompt_tokens and max_tokens")
    body = _whole_numbers(MessageToDict(request.request))
    if request.model:
        body["model"] = request.model
    read = read_request(_ENDPOINTS[capability], json.dumps(body).encode())
    return read.model, facts_of(read, tenant)


def _whole_numbers(value: Any) -> Any:
    """A Struct knows doubles only; what was whole in the caller's JSON is whole again."""
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _invalid(text: str) -> CallerError:
    return CallerError(400, text, code="invalid_request")


# -- the answer ----------------------------------------------------------------------------------------------------


def _digest(snapshot: Snapshot, name: str) -> str:
    return "sha256:" + snapshot.policy_digests[name].hex()


def _evaluated(
    caller: Caller, deployments: Iterable[Deployment], considered: Considered, order: Plan
) -> list[policies_pb2.EvaluatedDeployment]:
    admin, snapshot = caller.is_admin, caller.snapshot
    seen = None if caller.tenant is None else snapshot.visible(caller.tenant.policies).deployment_ids
    found: dict[str, tuple[Candidate, tuple[RuleFailure, ...]]] = {
        each.deployment.id: (each, ()) for each in considered.evaluation.eligible
    }
    for rejection in considered.evaluation.rejections:
        found[rejection.candidate.deployment.id] = (rejection.candidate, rejection.failures)
    skipped = {each.deployment.id: each.reason.value for each in order.skipped}
    return [
        _deployment(*found[each.id], skipped.get(each.id, ""), admin)
        for each in deployments
        if seen is None or each.id in seen
    ]


def _deployment(
    candidate: Candidate, failures: tuple[RuleFailure, ...], skipped: str, admin: bool
) -> policies_pb2.EvaluatedDeployment:
    standing = candidate.standing
    return policies_pb2.EvaluatedDeployment(
        deployment=candidate.deployment.id,
        provider=candidate.provider.id,
        eligible=not failures,
        failed=[
            policies_pb2.FailedRule(
                rule=failure.rule, expected=failure.expected, actual=failure.actual if admin else ""
            )
            for failure in failures
        ],
        skipped=skipped,
        tier=standing.tier.value,
        tier_reasons=standing.reasons,
        scopes=sorted(standing.scopes),
        drift=standing.drift.value,
        p95_ms=candidate.p95_ms if admin else None,
        cost_nano_usd=candidate.cost_nano_usd if admin else None,
    )


def _refusal(considered: Considered, policy: Policy, model: str, order: Plan) -> policies_pb2.Refusal | None:
    """In the very words of the model API."""
    try:
        require_eligible(considered.evaluation, policy, model)
        if order.order:
            return None
        raise refusal(order)
    except ApiError as error:
        return policies_pb2.Refusal(status=error.status, code=error.code, message=error.message)


def _shadow(result: ShadowResult) -> policies_pb2.Shadow:
    return policies_pb2.Shadow(
        policy=f"policies/{result.policy}",
        policy_digest="sha256:" + result.policy_digest.hex(),
        eligible=result.eligible,
        rejected=[
            policies_pb2.ShadowRejection(deployment=name, rules=rules) for name, rules in result.rejected
        ],
        plan_changes=result.plan_changes,
    )
