"""What several routers tell each other of deployments, without anything in between."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_routing_health import A, B, fail, snapshot, view

from sovereign_ext.routing.health import Health, State, Verdict
from sovereign_ext.routing.sharing import Opened, Seen
from sovereign_ext.routing.window import Window, value_of

LATE_S = 1.0


def sharing() -> Health:
    made = Health()
    made.follow(snapshot())
    made.share()
    return made


def tell(
    teller: Health, hearer: Health, now: float, age_s: float = 0.0, late_s: float = LATE_S
) -> tuple[Seen, ...]:
    """Over the wire and back."""
    seen = teller.take(now)
    sent = msgspec.json.decode(msgspec.json.encode(seen), type=tuple[Seen, ...])
    assert sent == seen
    hearer.merge(sent, now + age_s, age_s, late_s)
    return seen


@pytest.fixture
def one() -> Health:
    return sharing()


@pytest.fixture
def other() -> Health:
    return sharing()


def test_windows_hold_what_all_saw(one: Health, other: Health) -> None:
    """Counts and latencies add up, and what was heard is not told again."""
    for latency_s in (0.1, 0.1, 0.1):
        one.report(A, Verdict.SUCCESS, 1.0, latency_s=latency_s)
    other.report(A, Verdict.SUCCESS, 1.0, latency_s=2.0)
    fail(one, 1.0)
    tell(one, other, 1.5)
    found = view(other, 2.0)
    assert (found.successes, found.failures, found.consecutive_failures) == (4, 1, 1)
    assert found.p50_ms == pytest.approx(100, rel=0.06)
    assert found.p95_ms == pytest.approx(2000, rel=0.06)
    assert [(seen.deployment, seen.successes) for seen in other.take(2.0)] == [("a", 1)]
    assert one.take(2.0) == ()


def test_what_was_seen_leaves_the_window_when_it_is_too_old(one: Health, other: Health) -> None:
    """An entry counts at the time it was seen, not when it was heard."""
    fail(one, 100.0)
    tell(one, other, 100.0, age_s=50.0)
    assert view(other, 150.0).failures == 1
    assert view(other, 165.0).failures == 0
    fail(one, 200.0)
    tell(one, other, 200.0, age_s=61.0)
    assert view(other, 261.0).failures == 0


def test_a_provider_that_fails_on_one_router_is_left_alone_by_the_other(one: Health, other: Health) -> None:
    """The circuit opens there too, for the reason seen, and a little longer: who opened it probes."""
    fail(one, 10.0, times=3)
    tell(one, other, 10.2, age_s=0.3)
    assert view(other, 10.5).state is State.COOLING
    assert view(other, 10.5).why == "reset"
    assert one.blocked("a", 11.0) is None
    blocked = other.blocked("a", 11.0)
    assert blocked is not None
    assert blocked.retry_in_s == pytest.approx(1.0)
    assert other.blocked("a", 12.01) is None
    assert other.blocked("b", 10.5) is None


def test_failures_in_a_row_are_counted_together(one: Health, other: Health) -> None:
    """Two here and one there open it; a success anywhere begins anew."""
    fail(one, 1.0, times=2)
    fail(other, 1.0)
    tell(one, other, 1.1)
    assert view(other, 1.2).state is State.COOLING
    third, fourth = sharing(), sharing()
    fail(third, 1.0, times=2)
    third.report(A, Verdict.SUCCESS, 1.1)
    fail(third, 1.2)
    fail(fourth, 1.2)
    tell(third, fourth, 1.3)
    assert view(fourth, 1.3).consecutive_failures == 1
    assert view(fourth, 1.3).state is State.CLOSED


def test_retry_after_holds_for_all(one: Health, other: Health) -> None:
    one.report(A, Verdict.FAILURE, 5.0, reason="status_429", status=429, retry_after_s=20.0)
    tell(one, other, 5.0)
    blocked = other.blocked("a", 6.0)
    assert blocked is not None
    assert blocked.rate_limited
    assert 19.0 <= blocked.retry_in_s <= 20.1


def test_a_probe_that_succeeds_closes_the_circuit_everywhere(one: Health, other: Health) -> None:
    """Before the others would have probed."""
    fail(one, 10.0, times=3)
    tell(one, other, 10.0)
    assert one.claim("a", 11.1) is not None
    one.report(A, Verdict.SUCCESS, 11.2, latency_s=0.1)
    tell(one, other, 11.3, age_s=0.2)
    assert other.blocked("a", 11.5) is None
    assert view(other, 11.5).state is State.CLOSED
    assert view(other, 11.5).consecutive_failures == 0


def test_a_probe_that_fails_keeps_it_open_everywhere_for_longer(one: Health, other: Health) -> None:
    fail(one, 10.0, times=3)
    tell(one, other, 10.0)
    assert one.claim("a", 11.1) is not None
    fail(one, 11.2)
    tell(one, other, 11.2, age_s=0.2)
    blocked = other.blocked("a", 11.4)
    assert blocked is not None
    assert blocked.retry_in_s == pytest.approx(2.8)  # twice as long, and the time to be late


def test_what_closed_before_it_opened_here_does_not_close_it(one: Health, other: Health) -> None:
    fail(one, 1.0, times=3)
    one.report(A, Verdict.SUCCESS, 2.5)
    seen = one.take(2.6)
    fail(other, 3.0, times=3)
    other.merge(seen, 3.2, 0.6, LATE_S)
    assert view(other, 3.2).state is State.COOLING


def test_deployments_that_are_not_configured_here_are_left_out(one: Health, other: Health) -> None:
    other.merge((Seen("nobody", failures=3, streak=3),), 1.0, 0.0, LATE_S)
    assert other.blocked("nobody", 1.0) is None
    assert [each.deployment for each in other.snapshot_view(1.0)] == ["a", "b", "c"]


def test_without_sharing_nothing_is_kept_to_be_told() -> None:
    health = Health()
    fail(health, 1.0)
    assert health.take(1.0) == ()


@given(
    opened=st.none() | st.builds(Opened, st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.booleans()),
    closed=st.booleans(),
    streak=st.integers(0, 10**6),
    age_s=st.floats(0, 1e6),
)
def test_nothing_that_is_heard_cools_for_longer_than_the_longest_there_is(
    opened: Opened | None, closed: bool, streak: int, age_s: float
) -> None:
    """Whatever another router says: at most the longest cool-down and the time to be late."""
    health = sharing()
    health.merge((Seen("b", 1, 2, ((3, 1),), streak, "reset", opened, closed),), 1_000.0, age_s, LATE_S)
    blocked = health.blocked(B.id, 1_000.0)
    assert blocked is None or 0 <= blocked.retry_in_s <= 300.0
    assert health.blocked(B.id, 1_000.0 + 301.0) is None


_LATENCIES = st.dictionaries(st.integers(0, 145), st.integers(1, 9))
_ADDED = st.tuples(st.integers(0, 5), st.floats(0, 90), st.integers(0, 9), _LATENCIES)


@given(added=st.lists(_ADDED))
def test_a_window_that_was_added_to_is_as_if_it_had_seen_it(
    added: list[tuple[int, float, int, dict[int, int]]],
) -> None:
    """Quantiles included: one that counts sample by sample says the same."""
    now = 1_000.0
    merged, seen = Window(now), Window(now - 100.0)
    for successes, age_s, failures, latencies in sorted(added, key=lambda each: -each[1]):
        for index, count in latencies.items():
            for _ in range(count):
                seen.success(now - age_s, value_of(index))
        for _ in range(successes):
            seen.success(now - age_s)
        for _ in range(failures):
            seen.failure(now - age_s)
    for successes, age_s, failures, latencies in added:
        merged.add(now, age_s, successes + sum(latencies.values()), failures, latencies.items())
    assert merged.stats(now) == seen.stats(now)
