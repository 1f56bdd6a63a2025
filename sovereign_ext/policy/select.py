"""The denials of policy: which policy applies, which deployments come into question, what if none is left.

Every denial is a ``CallerError`` that tells the caller what to change and nothing about what others may do:
an unknown policy and a forbidden one, an unknown model and a hidden one, are answered alike.
"""

from __future__ import annotations

from typing import Final, Protocol

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import CallerError
from sovereign_ext.policy.evaluate import Evaluation
from sovereign_ext.policy.rules.base import Candidate

MODEL_SHOWN_CHARS: Final = 200


class Entitled(Protocol):
    """Who may use which policies: a tenant, or what one of its keys leaves of them. They need not exist any more."""

    @property
    def policies(self) -> tuple[str, ...]: ...

    @property
    def default_policy(self) -> str: ...


def choose_policy(snapshot: Snapshot, who: Entitled, named: str | None) -> Policy:
    """The policy named in ``X-SF-Policy``, or the default when the header is absent (``None``).

    Raises 403 ``policy_not_allowed``. An empty header is a name too, and not a known one: falling back to the
    default would apply a policy the caller did not ask for.
    """
    if named is None:
        policy = snapshot.policies.get(who.default_policy)
        if policy is None:
            raise CallerError(
                403,
                "The default policy of this API key does not exist any more. Name another in X-SF-Policy.",
                code="policy_not_allowed",
            )
        return policy
    name = named.strip(" \t")
    policy = snapshot.policies.get(name)
    if policy is None or name not in who.policies:
        raise CallerError(
            403,
            "The policy named in X-SF-Policy does not exist or this API key may not use it.",
            code="policy_not_allowed",
        )
    return policy


def deployments_of(snapshot: Snapshot, who: Entitled, model: str) -> tuple[Deployment, ...]:
    """Every deployment of ``model``, in file order, before any rule. Raises 404 ``model_not_found``."""
    if model not in snapshot.visible(who.policies).ids:
        shown = model if len(model) <= MODEL_SHOWN_CHARS else model[:MODEL_SHOWN_CHARS] + "…"
        raise CallerError(
            404,
            f"The model `{shown}` does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
        )
    return snapshot.deployments_by_model[model]


def require_eligible(evaluation: Evaluation, policy: Policy, model: str) -> tuple[Candidate, ...]:
    """The eligible candidates. Raises 403 ``no_eligible_deployment`` if the policy leaves none.

    The message names the failed rules and what they expected, never a deployment or an endpoint.
    """
    if evaluation.eligible:
        return evaluation.eligible
    failed = dict.fromkeys(
        f"{failure.rule} (expected {failure.expected})"
        for rejection in evaluation.rejections
        for failure in rejection.failures
    )
    raise CallerError(
        403,
        f"No deployment of the model `{model}` satisfies the policy `{policy.id}`: {'; '.join(failed)}.",
        code="no_eligible_deployment",
        param="model",
    )
