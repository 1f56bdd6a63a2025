"""The order in which the eligible deployments are asked.

1. What is cooling down, or half open with its probe in flight, is left out.
2. The policy's chain comes first: groups in the order the policy names them.
3. Within a group the better score comes first, counted in steps of 0.05 below the group's best; within a step
   the order of the file decides. So deployments that differ by noise only keep their traffic, and their
   prompt caches.
4. At most ``fallback.max_attempts`` are kept, one if fallback is off.

Only orders what policy evaluation has found eligible: nothing here can bring a deployment back.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.errors import ServiceError
from sovereign_ext.routing.health import Blocked, Health, Probe, State

SCORE_STEP: Final = 0.05


class SkipReason(StrEnum):
    """Why an eligible deployment is not in the order."""

    COOLING = "cooling"
    PROBING = "probing"
    MAX_ATTEMPTS = "max_attempts"


class Skipped(msgspec.Struct, frozen=True):
    """``why`` is the reason code of the failure behind a cool-down, empty otherwise."""

    deployment: Deployment
    reason: SkipReason
    why: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Whom to ask, in order. Give back ``probes`` with ``Health.release`` when the call ends, used or not."""

    order: tuple[Deployment, ...]
    skipped: tuple[Skipped, ...]
    probes: tuple[Probe, ...]  # claimed for half-open deployments in the order
    retry_after_s: float | None  # set when the order is empty: seconds until the first may be asked again
    rate_limited: bool  # the order is empty only because every provider has told us to slow down


def plan(policy: Policy, eligible: Sequence[Deployment], health: Health, now: float) -> Plan:
    """Order ``eligible`` (deployments of one model, in file order) and claim the probes of the half-open ones.

    ``now`` is monotonic seconds.
    """
    found = preview(policy, eligible, health, now)
    claims = [health.claim(deployment.id, now) for deployment in found.order]
    probes = tuple(claim for claim in claims if claim is not None)
    return replace(found, probes=probes) if probes else found


def preview(policy: Policy, eligible: Sequence[Deployment], health: Health, now: float) -> Plan:
    """The same order, for a call that is not made: nothing is claimed, no deployment is any the wiser."""
    usable: list[Deployment] = []
    skipped: list[Skipped] = []
    blocks: list[Blocked] = []
    for deployment in eligible:
        block = health.blocked(deployment.id, now)
        if block is None:
            usable.append(deployment)
        else:
            blocks.append(block)
            reason = SkipReason.COOLING if block.state is State.COOLING else SkipReason.PROBING
            skipped.append(Skipped(deployment, reason, block.why))
    if not usable:
        soonest = min((block.retry_in_s for block in blocks), default=None)
        limited = bool(blocks) and all(block.rate_limited for block in blocks)
        return Plan((), tuple(skipped), (), soonest, limited)
    ordered = _ordered(policy, usable, health, now) if len(usable) > 1 else usable
    limit = policy.fallback.max_attempts if policy.fallback.enabled else 1
    kept = ordered[:limit]
    skipped += [Skipped(deployment, SkipReason.MAX_ATTEMPTS) for deployment in ordered[limit:]]
    return Plan(tuple(kept), tuple(skipped), (), None, False)


def refusal(empty: Plan) -> ServiceError:
    """What to answer when the order is empty: 429 if all providers limit our rate, otherwise 503."""
    if empty.rate_limited:
        return ServiceError(
            429,
            "Every provider that may answer has reached its rate limit. Please retry later.",
            code="rate_limit_exceeded",
            type="rate_limit_error",
            retry_after_s=empty.retry_after_s,
        )
    return ServiceError(
        503,
        "Every provider that may answer is failing at the moment. Please retry later.",
        code="no_healthy_deployment",
        retry_after_s=empty.retry_after_s,
    )


def _ordered(policy: Policy, usable: list[Deployment], health: Health, now: float) -> list[Deployment]:
    places = policy.places
    groups = [places.get(deployment.provider, len(policy.groups)) for deployment in usable]
    if len(set(groups)) == len(groups):
        return [
            usable[at] for _, at in sorted(zip(groups, range(len(groups)), strict=True))
        ]  # a chain: no equals
    scores = health.scores(usable, now)
    best: dict[int, float] = {}
    for group, points in zip(groups, scores, strict=True):
        best[group] = max(points, best.get(group, 0.0))
    keys = [
        (group, int((best[group] - points) / SCORE_STEP), index)
        for index, (group, points) in enumerate(zip(groups, scores, strict=True))
    ]
    return [usable[index] for _, _, index in sorted(keys)]
