"""From a request to a plan: parse, choose the policy; then, scanned for credentials, evaluate it, order who is left.

Everything here happens before any cost. A refusal is an ``ApiError``; what was already known of the call is
left on the exchange, so that its entry can say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sovereign_ext.attest.commit import CLIENT_REQUEST
from sovereign_ext.config.model import Capability, Deployment, Policy, ProviderKind
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.exchange.admission import affordable
from sovereign_ext.exchange.exchange import Considered, Decision, Exchange, Planned
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.shadows import shadow_results
from sovereign_ext.openai.request import Endpoint, Request, read_request
from sovereign_ext.openai.tokens import estimate
from sovereign_ext.policy.cost import estimate_nano_usd, window_of
from sovereign_ext.policy.evaluate import evaluate
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.policy.select import choose_policy, deployments_of, require_eligible
from sovereign_ext.providers.base import Adapter
from sovereign_ext.routing.health import Health
from sovereign_ext.routing.plan import plan, refusal

_CAPABILITY = {Endpoint.CHAT: Capability.CHAT, Endpoint.EMBEDDINGS: Capability.EMBEDDINGS}


def receive(exchange: Exchange, body: bytes, named_policy: str | None) -> tuple[Request, Policy]:
    """The request in ``body`` and the policy that it is to be judged by. Raises ``ApiError``.

    The order is deliberate: what is wrong with the request is said before what the policy thinks of it.
    """
    commitment = exchange.commitment(CLIENT_REQUEST)
    commitment.update(body)
    exchange.client_request = commitment.digest()
    request = read_request(exchange.endpoint, body)
    if request.model in exchange.snapshot.models:  # nobody knows yet what else the name might be
        exchange.model = request.model
    policy = choose_policy(exchange.snapshot, exchange.identity, named_policy)
    exchange.policy_name = policy.id
    return request, policy


def decide(  # noqa: PLR0917 - the driver passes all it has, in the order of the steps
    exchange: Exchange,
    request: Request,
    policy: Policy,
    health: Health,
    adapters: Mapping[ProviderKind, Adapter],
    now: Moment,
) -> Decision:
    """Decide who may answer ``request``, in which the policy's credentials are no more. Raises ``ApiError``."""
    snapshot = exchange.snapshot
    exchange.model = request.model
    deployments = deployments_of(snapshot, exchange.identity, request.model)
    facts = facts_of(request, exchange.identity.tenant.id)
    considered = exchange.considered = consider(snapshot, policy, deployments, facts, health, now)
    eligible = require_eligible(considered.evaluation, policy, request.model)
    eligible = affordable(exchange.identity, eligible, request.model)
    order = plan(policy, [each.deployment for each in eligible], health, now.mono)
    exchange.probes = order.probes
    if not order.order:
        raise refusal(order)
    by_id = {each.deployment.id: each for each in eligible}
    planned = tuple(
        Planned(candidate, adapters[candidate.provider.kind])
        for deployment in order.order
        for candidate in (by_id[deployment.id],)
    )
    return Decision(
        request=request,
        policy=policy,
        policy_digest=snapshot.policy_digests[policy.id],
        plan=planned,
    )


def facts_of(request: Request, tenant: str) -> RequestFacts:
    """What the rules are told of a request: sizes, never content."""
    size = estimate(request)
    return RequestFacts(
        _CAPABILITY[request.endpoint], size.prompt_tokens, size.max_tokens, size.choices, tenant
    )


def consider(  # noqa: PLR0917 - also for requests that are not made, so nothing of an exchange
    snapshot: Snapshot,
    policy: Policy,
    deployments: Iterable[Deployment],
    facts: RequestFacts,
    health: Health,
    now: Moment,
) -> Considered:
    """Evaluate the policy and its shadows. Asks health and trust, and changes nothing of either."""
    candidates = [
        Candidate(
            deployment,
            snapshot.providers[deployment.provider],
            model,
            snapshot.trust.assess(deployment, now.wall_ms / 1000),
            health.p95_ms(deployment.id, now.mono),
            estimate_nano_usd(deployment.price, window_of(deployment, model), facts),
        )
        for deployment in deployments
        for model in (snapshot.models[deployment.model],)
    ]
    evaluation = evaluate(policy, candidates, facts)
    shadows = shadow_results(snapshot, policy, candidates, facts, evaluation, health, now.mono)
    return Considered(facts, evaluation, shadows)
