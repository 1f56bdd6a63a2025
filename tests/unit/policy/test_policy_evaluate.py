"""Evaluation: who is eligible, and every reason why the others are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from policy_world import CHAT, candidate

from sovereign_ext.config.model import Capability, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.evaluate import evaluate, routable
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, RuleFailure


def test_every_failed_rule_is_listed() -> None:
    """Not only the first: the operator should not have to mend one to see the next."""
    policy = Policy(id="p", providers=("b", ("a", "c")), required_tier=Tier.WITNESSED)
    wrong = candidate("z", Capability.EMBEDDINGS)
    evaluation = evaluate(policy, [wrong], CHAT)
    assert evaluation.eligible == ()
    (rejection,) = evaluation.rejections
    assert rejection.candidate is wrong
    assert rejection.failures == (
        RuleFailure("provider", "one of a, b, c", "z"),
        RuleFailure("capability", "chat", "embeddings"),
        RuleFailure("tier", "at least witnessed", "open"),
    )
    assert rejection.rules == ("provider", "capability", "tier")


def test_a_higher_tier_satisfies_a_lower_requirement() -> None:
    """Tiers are ordered."""
    all_four = [candidate(name, tier=tier) for name, tier in zip("abcd", Tier, strict=True)]
    for required, eligible in (
        (Tier.OPEN, "abcd"), (Tier.ATTESTED, "bcd"), (Tier.WITNESSED, "cd"), (Tier.SEALED, "d")
    ):  # fmt: skip
        policy = Policy(id="p", required_tier=required)
        evaluation = evaluate(policy, all_four, CHAT)
        assert [each.provider.id for each in evaluation.eligible] == list(eligible)


def test_without_evidence_everything_is_open() -> None:
    """Unknown never passes for more."""
    assert evaluate(Policy(id="p"), [candidate("a")], CHAT).rejections == ()
    assert evaluate(Policy(id="p", required_tier=Tier.ATTESTED), [candidate("a")], CHAT).eligible == ()


def test_an_empty_chain_means_every_provider() -> None:
    """A chain that names somebody excludes all others."""
    both = [candidate("a"), candidate("b")]
    assert len(evaluate(Policy(id="p"), both, CHAT).eligible) == 2
    assert evaluate(Policy(id="p", providers=("b",)), both, CHAT).eligible == (both[1],)


def test_visibility_looks_at_the_file_only() -> None:
    """A model whose evidence has lapsed stays visible, so that the denial can give the reason."""
    policy = Policy(id="p", providers=("a",), required_tier=Tier.SEALED)
    a, b = candidate("a", Capability.EMBEDDINGS), candidate("b")
    assert routable(policy, a.deployment, a.provider, a.model)
    assert not routable(policy, b.deployment, b.provider, b.model)


providers = st.sampled_from(["a", "b", "c", "d"])
candidates = st.builds(
    candidate, providers, st.sampled_from(list(Capability)), tier=st.sampled_from(list(Tier))
)
policies = st.builds(
    Policy,
    id=st.just("p"),
    providers=st.lists(providers, unique=True).map(tuple),
    required_tier=st.sampled_from(list(Tier)),
)


@given(policies, st.lists(candidates), st.sampled_from(list(Capability)))
def test_eligible_and_rejected_split_the_candidates_in_order(
    policy: Policy, asked: list[Candidate], capability: Capability
) -> None:
    """Nobody is lost, nobody is in both, and what passes satisfies the definition."""
    evaluation = evaluate(policy, asked, RequestFacts(capability))

    def passes(each: Candidate) -> bool:
        named = not policy.providers or each.provider.id in policy.providers
        offered = capability in each.deployment.capabilities
        return named and offered and each.standing.tier.rank >= policy.required_tier.rank

    assert list(evaluation.eligible) == [each for each in asked if passes(each)]
    assert [each.candidate for each in evaluation.rejections] == [each for each in asked if not passes(each)]
    assert all(rejection.failures for rejection in evaluation.rejections)
