"""Whether an entry follows the policy document that it names: what can be said of one decision or one outcome.

1. The document is the one of the named policy, and the entry repeats its audit and tier.
2. Every candidate, judged again, fails exactly the rules that the entry says.
3. Whatever was planned or tried was eligible, and no more was tried than the policy allows.
4. Whoever answered reached the required tier on the connection that answered.
5. A request in which credentials were found was sent to nobody where the policy blocks such, and the entry that tells
   of them is named.

What only several entries together show (a decision before its outcome) is the monitor's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sovereign_ext.attest.reevaluate import Condition, Evaluated, PolicyDocument, at_least, reevaluate
from sovereign_ext.attest.statement import DECISION, OUTCOME
from sovereign_ext.errors import VerificationError

TAKEN = "; condition taken as recorded"


def audit(
    kind: str, predicate: Mapping[str, Any], policy: PolicyDocument, condition: Condition | None = None
) -> str:
    """Check an entry of predicate type ``kind`` against its policy; gives what was found, for people.

    Raises ``VerificationError``.
    """
    _same("policy", predicate.get("policy"), policy.id)
    if kind == DECISION or predicate.get("attempts") or "audit" in predicate:
        _same("audit", predicate.get("audit"), policy.audit)
    evaluated = reevaluate(policy, predicate, condition)
    taken = TAKEN if evaluated.taken else ""
    judged = (
        f"{len(evaluated.eligible)} of {len(evaluated.eligible | evaluated.rejected)} candidates eligible"
    )
    if kind == DECISION:
        planned = _deployments(predicate, "plan")
        _eligible(planned, evaluated, policy, "planned")
        return f"{policy.id}: {judged}, {len(planned)} planned{taken}"
    if kind == OUTCOME:
        tried = _outcome(predicate, policy, evaluated)
        return f"{policy.id}: {judged}, {tried} tried{taken}"
    raise VerificationError(f"entries of type {kind!r} follow no policy")


def _outcome(predicate: Mapping[str, Any], policy: PolicyDocument, evaluated: Evaluated) -> int:
    tried = [attempt.get("deployment") for attempt in _objects(predicate, "attempts")]
    _eligible(tried, evaluated, policy, "tried")
    if len(tried) > policy.most_attempts:
        raise VerificationError(f"{len(tried)} attempts, policy {policy.id} allows {policy.most_attempts}")
    if tried or predicate.get("tier_required"):
        _same("tier_required", predicate.get("tier_required"), policy.required_tier)
    if tried and policy.audit == "strict" and not isinstance(predicate.get("decision_index"), int):
        raise VerificationError("audit is strict, but no decision entry is named")
    if predicate.get("error_code") == "no_eligible_deployment" and evaluated.eligible:
        raise VerificationError(f"the call was denied, but {min(evaluated.eligible)} was eligible")
    if predicate.get("findings"):
        _found(tried, predicate, policy)
    answered = predicate.get("deployment")
    if answered is not None:
        _answered(answered, tried, predicate, policy)
    elif predicate.get("result") == "answered":
        raise VerificationError("the call was answered, but by no deployment")
    return len(tried)


def _answered(
    answered: object, tried: list[Any], predicate: Mapping[str, Any], policy: PolicyDocument
) -> None:
    if not tried or tried[-1] != answered:
        raise VerificationError(f"deployment {answered} answered, but was not the last that was tried")
    observed = predicate.get("tier_observed")
    if not isinstance(observed, str) or not at_least(observed, policy.required_tier):
        raise VerificationError(
            f"tier {observed} was observed, policy {policy.id} requires {policy.required_tier}"
        )


def _found(tried: list[Any], predicate: Mapping[str, Any], policy: PolicyDocument) -> None:
    if not isinstance(predicate.get("finding_index"), int):
        raise VerificationError("credentials were found, but no entry is named that tells of them")
    if tried and policy.redaction is not None and policy.redaction.action == "block":
        raise VerificationError(f"credentials were found, policy {policy.id} blocks such calls")


def _eligible(names: list[Any], evaluated: Evaluated, policy: PolicyDocument, what: str) -> None:
    for name in names:
        if name not in evaluated.eligible:
            known = "was ruled out" if name in evaluated.rejected else "was not judged"
            raise VerificationError(f"deployment {name} was {what}, but {known} under policy {policy.id}")
    if what == "planned" and len(set(names)) != len(names):
        raise VerificationError("a deployment was planned twice")


def _deployments(predicate: Mapping[str, Any], member: str) -> list[Any]:
    found = predicate.get(member)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise VerificationError(f"the entry's {member} is not a list of deployments")
    return found


def _objects(predicate: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    found = predicate.get(member)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise VerificationError(f"the entry's {member} is not a list of objects")
    return found


def _same(member: str, said: object, expected: str) -> None:
    if said != expected:
        raise VerificationError(f"the entry's {member} is {said!r}, its policy document's {expected!r}")
