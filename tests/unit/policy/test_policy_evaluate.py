"""Evaluation: who is eligible, and every reason why the others are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.model import Capability, Deployment, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.evaluate import evaluate, routable, without_evidence
from sovereign_ext.policy.rules.base import RequestFacts, RuleFailure

CHAT = RequestFacts(Capability.CHAT)


def deployment(provider: str, *capabilities: Capability) -> Deployment:
    return Deployment(
        id=f"m-{provider}",
        model="m",
        provider=provider,
        upstream_model="u",
        capabilities=capabilities or (Capability.CHAT,),
    )


def test_every_failed_rule_is_listed() -> None:
    """Not only the first: the operator should not have to mend one to see the next."""
    policy = Policy(id="p", providers=("b", ("a", "c")), required_tier=Tier.WITNESSED)
    wrong = deployment("z", Capability.EMBEDDINGS)
    evaluation = evaluate(policy, [wrong], CHAT)
    assert evaluation.eligible == ()
    (rejection,) = evaluation.rejections
    assert rejection.deployment is wrong
    assert rejection.failures == (
        RuleFailure("provider", "one of a, b, c", "z"),
        RuleFailure("capability", "chat", "embeddings"),
        RuleFailure("tier", "at least witnessed", "open"),
    )


def test_a_higher_tier_satisfies_a_lower_requirement() -> None:
    """Tiers are ordered; the expected tier of each deployment is asked for once."""
    reached = {"m-a": Tier.OPEN, "m-b": Tier.ATTESTED, "m-c": Tier.WITNESSED, "m-d": Tier.SEALED}
    all_four = [deployment(name) for name in "abcd"]
    for required, eligible in (
        (Tier.OPEN, "abcd"), (Tier.ATTESTED, "bcd"), (Tier.WITNESSED, "cd"), (Tier.SEALED, "d")
    ):  # fmt: skip
        policy = Policy(id="p", required_tier=required)
        evaluation = evaluate(policy, all_four, CHAT, lambda each: reached[each.id])
        assert [each.provider for each in evaluation.eligible] == list(eligible)


def test_without_evidence_everything_is_open() -> None:
    """Unknown never passes for more."""
    assert without_evidence(deployment("a")) is Tier.OPEN
    assert evaluate(Policy(id="p"), [deployment("a")], CHAT).rejections == ()
    assert evaluate(Policy(id="p", required_tier=Tier.ATTESTED), [deployment("a")], CHAT).eligible == ()


def test_an_empty_chain_means_every_provider() -> None:
    """A chain that names somebody excludes all others."""
    both = [deployment("a"), deployment("b")]
    assert len(evaluate(Policy(id="p"), both, CHAT).eligible) == 2
    assert evaluate(Policy(id="p", providers=("b",)), both, CHAT).eligible == (both[1],)


def test_visibility_looks_at_the_file_only() -> None:
    """A model whose evidence has lapsed stays visible, so that the denial can give the reason."""
    policy = Policy(id="p", providers=("a",), required_tier=Tier.SEALED)
    assert routable(policy, deployment("a", Capability.EMBEDDINGS))
    assert not routable(policy, deployment("b"))


providers = st.sampled_from(["a", "b", "c", "d"])
deployments = st.builds(
    deployment,
    providers,
    st.sampled_from(list(Capability)),
)
policies = st.builds(
    Policy,
    id=st.just("p"),
    providers=st.lists(providers, unique=True).map(tuple),
    required_tier=st.sampled_from(list(Tier)),
)


@given(policies, st.lists(deployments), st.sampled_from(list(Capability)), st.sampled_from(list(Tier)))
def test_eligible_and_rejected_split_the_deployments_in_order(
    policy: Policy, given_deployments: list[Deployment], capability: Capability, tier: Tier
) -> None:
    """Nobody is lost, nobody is in both, and what passes satisfies the definition."""
    evaluation = evaluate(policy, given_deployments, RequestFacts(capability), lambda _: tier)

    def passes(each: Deployment) -> bool:
        named = not policy.providers or each.provider in policy.providers
        return named and capability in each.capabilities and tier.rank >= policy.required_tier.rank

    assert list(evaluation.eligible) == [each for each in given_deployments if passes(each)]
    assert [each.deployment for each in evaluation.rejections] == [
        each for each in given_deployments if not passes(each)
    ]
    assert all(rejection.failures for rejection in evaluation.rejections)
