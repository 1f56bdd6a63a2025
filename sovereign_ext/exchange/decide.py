"""From a request to a plan: parse, choose the policy, evaluate it, order who is left.

Everything here happens before any cost. A refusal is an ``ApiError``; what was already known of the call is
left on the exchange, so that its entry can say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sovereign_ext.attest.commit import CLIENT_REQUEST
from sovereign_ext.config.model import Capability, Deployment, ProviderKind
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.exchange.exchange import Considered, Decision, Exchange, Planned
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.policy.evaluate import evaluate
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.policy.select import choose_policy, deployments_of, require_eligible
from sovereign_ext.providers.base import Adapter
from sovereign_ext.routing.health import Health
from sovereign_ext.routing.plan import plan, refusal

_CAPABILITY = {Endpoint.CHAT: Capability.CHAT, Endpoint.EMBEDDINGS: Capability.EMBEDDINGS}


def decide(  # noqa: PLR0917 - the driver passes all it has, in the order of the steps
    exchange: Exchange,
    body: bytes,
    named_policy: str | None,
    health: Health,
    adapters: Mapping[ProviderKind, Adapter],
    now: Moment,
) -> Decision:
    """Decide who may answer ``body``. Raises ``ApiError``.

    The order is deliberate: what is wrong with the request is said before what the policy thinks of it.
    """
    snapshot = exchange.snapshot
    commitment = exchange.commitment(CLIENT_REQUEST)
    commitment.update(body)
    exchange.client_request = commitment.digest()
    request = read_request(exchange.endpoint, body)
    exchange.model = request.model
    policy = choose_policy(snapshot, exchange.identity.tenant, named_policy)
    exchange.policy_name = policy.id
    deployments = deployments_of(snapshot, exchange.identity.tenant, request.model)
    facts = RequestFacts(_CAPABILITY[exchange.endpoint], tenant=exchange.identity.tenant.id)
    evaluation = evaluate(policy, candidates_of(snapshot, deployments, health, now), facts)
    exchange.considered = Considered(facts, evaluation)
    eligible = require_eligible(evaluation, policy, request.model)
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


def candidates_of(
    snapshot: Snapshot, deployments: Iterable[Deployment], health: Health, now: Moment
) -> list[Candidate]:
    """All that is known of ``deployments`` at this moment. Asks health, and changes nothing of it."""
    return [
        Candidate(
            deployment,
            snapshot.providers[deployment.provider],
            snapshot.models[deployment.model],
            snapshot.trust.assess(deployment, now.wall_ms / 1000),
            health.p95_ms(deployment.id, now.mono),
        )
        for deployment in deployments
    ]
