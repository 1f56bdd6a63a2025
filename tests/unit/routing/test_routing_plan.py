"""The order in which deployments are asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.model import Deployment, Fallback, Policy
from sovereign_ext.routing.health import Health, Verdict
from sovereign_ext.routing.plan import Plan, SkipReason, plan, refusal


def deployments(names: str) -> list[Deployment]:
    return [Deployment(id=name, model="m", provider=name, upstream_model="u") for name in names]


def ids(made: Plan) -> str:
    return "".join(deployment.id for deployment in made.order)


A, B, C, D, E = ALL = deployments("abcde")
ANY = Policy(id="any", fallback=Fallback(max_attempts=16))


def cool(health: Health, deployment: Deployment, seconds: float, status: int = 503) -> None:
    health.report(deployment, Verdict.FAILURE, 0.0, reason="status", status=status, retry_after_s=seconds)


def test_without_a_chain_and_without_history_the_file_decides() -> None:
    """All are equal, so the order is stable."""
    assert ids(plan(ANY, ALL, Health(), 0.0)) == "abcde"


def test_the_chain_comes_before_the_score() -> None:
    """A preferred provider is asked first even if it does worse, as long as its circuit is closed."""
    health = Health()
    health.report(C, Verdict.FAILURE, 0.0, reason="reset")
    policy = Policy(id="p", providers=("c", ("b", "a")))
    assert ids(plan(policy, [A, B, C], health, 0.0)) == "cab"


def test_within_a_group_the_better_score_comes_first() -> None:
    """Success rate and latency both count."""
    health = Health()
    health.report(A, Verdict.FAILURE, 0.0, reason="reset")
    for deployment, latency_s in ((B, 2.0), (C, 0.1)):
        health.report(deployment, Verdict.SUCCESS, 0.0, latency_s=latency_s)
    assert ids(plan(ANY, [A, B, C], health, 0.0)) == "cba"


def test_differences_of_noise_do_not_move_traffic() -> None:
    """One bin of latency is less than a step of 0.05, so the file decides; twice as slow is more."""
    health = Health()
    for deployment, latency_s in ((A, 0.11), (B, 0.1)):
        health.report(deployment, Verdict.SUCCESS, 0.0, latency_s=latency_s)
    assert health.scores([A, B], 0.0)[0] < health.scores([A, B], 0.0)[1] == 1.0
    assert ids(plan(ANY, [A, B], health, 0.0)) == "ab"
    health.report(A, Verdict.SUCCESS, 60.0, latency_s=0.2)
    health.report(B, Verdict.SUCCESS, 60.0, latency_s=0.1)
    assert ids(plan(ANY, [A, B], health, 60.0)) == "ba"


def test_a_cooling_deployment_is_left_out_and_named() -> None:
    """The walk does not waste an attempt on it."""
    health = Health()
    cool(health, A, 20.0)
    made = plan(ANY, [A, B], health, 1.0)
    assert ids(made) == "b"
    (skipped,) = made.skipped
    assert (skipped.deployment, skipped.reason, skipped.why) == (A, SkipReason.COOLING, "status")
    assert made.retry_after_s is None


def test_a_cooling_preference_gives_way_to_the_next_group() -> None:
    """Also where fallback is off: that forbids a second attempt, not a sensible first one."""
    health = Health()
    cool(health, A, 20.0)
    policy = Policy(id="p", providers=("a", "b", "c"), fallback=Fallback(enabled=False))
    made = plan(policy, [A, B, C], health, 1.0)
    assert ids(made) == "b"
    assert [skipped.reason for skipped in made.skipped] == [SkipReason.COOLING, SkipReason.MAX_ATTEMPTS]


@pytest.mark.parametrize(
    ("fallback", "length"), [(Fallback(), 4), (Fallback(max_attempts=2), 2), (Fallback(enabled=False), 1)]
)
def test_the_walk_is_as_long_as_the_policy_allows(fallback: Fallback, length: int) -> None:
    """What is cut off is named as well."""
    made = plan(Policy(id="p", fallback=fallback), ALL, Health(), 0.0)
    assert ids(made) == "abcde"[:length]
    assert [skipped.deployment.id for skipped in made.skipped] == list("abcde"[length:])
    assert {skipped.reason for skipped in made.skipped} == {SkipReason.MAX_ATTEMPTS}


def test_when_all_cool_down_the_answer_says_when_to_come_back() -> None:
    """503 with the soonest end; never an attempt at something known to be down."""
    health = Health()
    for deployment, seconds in ((A, 20.0), (B, 7.5), (C, 30.0)):
        cool(health, deployment, seconds)
    made = plan(ANY, [A, B, C], health, 0.5)
    assert (made.order, made.retry_after_s, made.rate_limited) == ((), 7.0, False)
    error = refusal(made)
    assert (error.status, error.code, error.retry_after_s, error.retry) == (
        503,
        "no_healthy_deployment",
        7.0,
        True,
    )


def test_429_is_the_answer_only_if_all_limit_our_rate() -> None:
    """One that is down for another reason makes it 503."""
    health = Health()
    cool(health, A, 20.0, status=429)
    cool(health, B, 10.0, status=429)
    error = refusal(plan(ANY, [A, B], health, 0.0))
    assert (error.status, error.code, error.retry_after_s) == (429, "rate_limit_exceeded", 10.0)
    cool(health, C, 10.0)
    assert refusal(plan(ANY, [A, B, C], health, 0.0)).status == 503


def test_a_half_open_deployment_gets_one_probe() -> None:
    """The plan that includes it claims the probe; others go without until it is decided."""
    health = Health()
    cool(health, A, 1.0)
    first = plan(ANY, [A], health, 1.0)
    assert ids(first) == "a"
    assert [probe.deployment for probe in first.probes] == ["a"]
    second = plan(ANY, [A, B], health, 1.0)
    assert (ids(second), second.probes) == ("b", ())
    assert second.skipped[0].reason is SkipReason.PROBING
    alone = plan(ANY, [A], health, 1.0)
    assert (alone.order, alone.retry_after_s) == ((), 1.0)
    health.release(first.probes[0])
    assert "a" in ids(plan(ANY, [A, B], health, 1.0))


def test_only_what_is_in_the_order_is_claimed() -> None:
    """A half-open deployment beyond the last attempt stays free for somebody who will ask it."""
    health = Health()
    cool(health, B, 1.0)
    policy = Policy(id="p", providers=("a", "b"), fallback=Fallback(enabled=False))
    assert plan(policy, [A, B], health, 1.0).probes == ()
    assert len(plan(ANY, [A, B], health, 1.0).probes) == 1


def test_nothing_eligible_gives_an_empty_plan() -> None:
    """The caller has answered 403 before; here it is merely not an error."""
    assert plan(ANY, [], Health(), 0.0) == Plan((), (), (), None, False)


chains = st.lists(st.sampled_from("abcde"), unique=True, max_size=5).map(tuple)
reports = st.lists(
    st.tuples(
        st.sampled_from(ALL), st.sampled_from(list(Verdict)), st.sampled_from([0, 429]),
        st.none() | st.floats(0, 5), st.floats(0, 2),
    ), max_size=30,
)  # fmt: skip


@given(chains, st.integers(1, 6), st.sets(st.sampled_from("abcde")), reports)
def test_a_plan_is_a_split_of_the_eligible(
    chain: tuple[str, ...],
    attempts: int,
    names: set[str],
    history: list[tuple[Deployment, Verdict, int, float | None, float]],
) -> None:
    """Whatever the health, nobody ineligible gets in, nobody appears twice, groups stay in order."""
    health, now = Health(), 0.0
    for deployment, verdict, status, retry_after_s, pause in history:
        now += pause
        health.report(
            deployment, verdict, now, reason="x", status=status, retry_after_s=retry_after_s, latency_s=pause
        )
    eligible = [each for each in ALL if each.id in names]
    policy = Policy(id="p", providers=chain, fallback=Fallback(max_attempts=attempts))
    made = plan(policy, eligible, health, now)
    together = [*made.order, *(skipped.deployment for skipped in made.skipped)]
    assert sorted(each.id for each in together) == sorted(names)
    assert len(made.order) <= attempts
    ranks = [chain.index(each.id) if each.id in chain else len(chain) for each in made.order]
    assert ranks == sorted(ranks)
    assert (made.retry_after_s is not None) == (not made.order and bool(eligible))
    assert {probe.deployment for probe in made.probes} <= {each.id for each in made.order}
