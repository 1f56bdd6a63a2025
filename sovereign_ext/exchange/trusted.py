"""Asks again, when a deployment's turn has come and when it has answered, whether the policy still allows it.

Between the decision and an attempt a statement may expire, be revoked or superseded, evidence may lapse; and only
the answering connection shows who answers. The policy is the one the call began with, the evidence the newest.
"""

from __future__ import annotations

from msgspec.structs import replace

from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.standing import Peer, Standing
from sovereign_ext.exchange.exchange import Exchange, Planned
from sovereign_ext.policy.evaluate import evaluate


def standings(
    exchange: Exchange, newest: Snapshot, planned: Planned, now_s: float, peer: Peer | None = None
) -> tuple[Standing, ...]:
    """What is known of a deployment now, by the newest configuration and, where that describes the deployment
    otherwise, by the call's own too. Both must satisfy the policy; the first is the one to record.
    """
    deployment, own = planned.deployment, exchange.snapshot
    current = newest.trust.assess(deployment, now_s, peer)
    same = newest is own or (
        newest.deployments.get(deployment.id) == deployment
        and newest.providers.get(deployment.provider) == planned.provider
        and newest.models.get(deployment.model) == planned.candidate.model
    )
    return (current,) if same else (current, own.trust.assess(deployment, now_s, peer))


def shortfall(exchange: Exchange, planned: Planned, found: tuple[Standing, ...]) -> tuple[str, ...]:
    """The names of the rules that the deployment fails with any of the standings ``found``; empty if none."""
    if all(standing is planned.candidate.standing for standing in found):
        return ()  # nothing has changed since the decision found it eligible, the common case
    decision, considered = exchange.decision, exchange.considered
    assert decision is not None
    assert considered is not None
    candidates = [replace(planned.candidate, standing=standing) for standing in found]
    evaluation = evaluate(decision.policy, candidates, considered.request)
    return tuple(dict.fromkeys(rule for rejection in evaluation.rejections for rule in rejection.rules))
