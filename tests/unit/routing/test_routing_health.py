"""Circuits and scores of deployments."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Deployment
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.routing.health import PROBE_MAX_S, DeploymentHealth, Health, State, Verdict, score
from sovereign_ext.routing.window import WindowStats

TEXT = """\
version: 1
models: [{id: m}, {id: n}]
providers:
  - {id: p, kind: mock, endpoint: "http://127.0.0.1:1"}
  - {id: q, kind: mock, endpoint: "http://127.0.0.1:2"}
deployments:
  - {id: a, model: m, provider: p, upstream_model: u}
  - {id: b, model: m, provider: q, upstream_model: u}
  - {id: c, model: n, provider: q, upstream_model: u}
"""


def snapshot(text: str = TEXT) -> Snapshot:
    return Snapshot.from_config(parse(text), version=1, digest="sha256:x", routable=routable)


A, B, C = snapshot().config.deployments


@pytest.fixture
def health() -> Health:
    made = Health()
    made.follow(snapshot())
    return made


def view(health: Health, now: float, deployment: Deployment = A) -> DeploymentHealth:
    return next(each for each in health.snapshot_view(now) if each.deployment == deployment.id)


def fail(health: Health, now: float, times: int = 1, **more: object) -> None:
    for _ in range(times):
        health.report(A, Verdict.FAILURE, now, **{"reason": "reset"} | more)  # type: ignore[arg-type]


def test_nothing_known_is_healthy(health: Health) -> None:
    """A new deployment is tried: full score, closed circuit."""
    assert view(health, 0.0) == DeploymentHealth(
        deployment="a", provider="p", model="m", state=State.CLOSED, score=1.0, successes=0, failures=0,
        success_rate=None, p50_ms=None, p95_ms=None, consecutive_failures=0, why=None, retry_in_s=None,
    )  # fmt: skip
    assert health.blocked("a", 0.0) is None


def test_three_failures_in_a_row_open_the_circuit(health: Health) -> None:
    """Two do not, and a success in between starts the count again."""
    fail(health, 0.0, 2)
    health.report(A, Verdict.SUCCESS, 0.0)
    fail(health, 0.0, 2)
    assert view(health, 0.0).state is State.CLOSED
    fail(health, 0.0)
    seen = view(health, 0.0)
    assert (seen.state, seen.why, seen.retry_in_s) == (State.COOLING, "reset", 1.0)
    blocked = health.blocked("a", 0.25)
    assert blocked is not None
    assert (blocked.state, blocked.why, blocked.retry_in_s, blocked.rate_limited) == (
        State.COOLING, "reset", 0.75, False
    )  # fmt: skip


def test_the_cool_down_doubles_with_each_failed_probe_up_to_thirty_seconds(health: Health) -> None:
    """1, 2, 4, … 30, 30; one success and it begins at 1 again."""
    fail(health, 0.0, 3)
    now, lengths = 0.0, []
    for _ in range(7):
        length = view(health, now).retry_in_s
        assert length is not None
        lengths.append(length)
        now += length
        assert view(health, now).state is State.HALF_OPEN
        fail(health, now)
    assert lengths == [1, 2, 4, 8, 16, 30, 30]
    now += 30
    health.report(A, Verdict.SUCCESS, now)
    assert view(health, now).state is State.CLOSED
    fail(health, now, 3)
    assert view(health, now).retry_in_s == 1.0


@pytest.mark.parametrize(("status", "limited"), [(429, True), (503, False), (529, False)])
@pytest.mark.parametrize(("asked", "cooled"), [(20.0, 20.0), (0.0, 0.0), (-5.0, 0.0), (86_400.0, 300.0)])
def test_retry_after_is_obeyed_at_once_and_within_bounds(
    health: Health, status: int, limited: bool, asked: float, cooled: float
) -> None:
    """The first such answer is enough; a day is cut to five minutes."""
    fail(health, 10.0, status=status, reason="status", retry_after_s=asked)
    assert view(health, 10.0).retry_in_s == cooled
    blocked = health.blocked("a", 10.0)
    assert (blocked is not None and blocked.rate_limited) == (limited and cooled > 0)


def test_a_429_without_a_hint_cools_at_once(health: Health) -> None:
    """Some providers never send Retry-After; a 503 without one is a failure like any other."""
    fail(health, 0.0, status=503)
    assert view(health, 0.0).state is State.CLOSED
    fail(health, 0.0, status=429)
    assert view(health, 0.0).retry_in_s == 1.0


def test_one_probe_at_a_time_and_success_closes(health: Health) -> None:
    """While the probe is out, others see the deployment as blocked."""
    fail(health, 0.0, 3)
    assert health.claim("a", 0.5) is None
    assert health.blocked("a", 1.0) is None
    probe = health.claim("a", 1.0)
    assert probe is not None
    blocked = health.blocked("a", 1.0)
    assert blocked is not None
    assert blocked.state is State.HALF_OPEN
    health.report(A, Verdict.SUCCESS, 1.5, latency_s=0.1)
    assert health.blocked("a", 1.5) is None
    assert view(health, 1.5).state is State.CLOSED


def test_an_ignored_or_released_probe_leaves_the_door_ajar(health: Health) -> None:
    """The client went away, or the attempt was never made: nothing is known, the next may try."""
    fail(health, 0.0, 3)
    assert health.claim("a", 1.0) is not None
    health.report(A, Verdict.IGNORED, 1.0)
    assert health.blocked("a", 1.0) is None
    probe = health.claim("a", 1.0)
    assert probe is not None
    health.release(probe)
    assert health.blocked("a", 1.0) is None
    assert view(health, 1.0).state is State.HALF_OPEN
    other = health.claim("a", 1.0)
    health.release(probe)
    assert health.blocked("a", 1.0) is not None, f"a late release must not free {other}"


def test_a_lost_probe_does_not_lock_the_deployment_out(health: Health) -> None:
    """Whoever claimed it may have died."""
    fail(health, 0.0, 3)
    health.claim("a", 1.0)
    assert health.blocked("a", 1.0 + PROBE_MAX_S - 0.01) is not None
    assert health.blocked("a", 1.0 + PROBE_MAX_S) is None


def test_calls_that_fail_together_are_one_incident(health: Health) -> None:
    """Ten calls in flight do not make the cool-down ten times longer."""
    fail(health, 0.0, 10)
    assert view(health, 0.0).retry_in_s == 1.0
    assert view(health, 0.0).failures == 10
    assert view(health, 1.0).state is State.HALF_OPEN
    fail(health, 1.0, 10)
    assert view(health, 1.0).retry_in_s == 2.0


def test_what_was_sent_before_a_cool_down_does_not_end_it(health: Health) -> None:
    """A late success is counted, but the provider has asked for time; asking for more extends it."""
    fail(health, 0.0, status=429, retry_after_s=20.0)
    health.report(A, Verdict.SUCCESS, 1.0)
    assert view(health, 1.0).retry_in_s == 19.0
    fail(health, 2.0, status=429, retry_after_s=5.0)
    assert view(health, 2.0).retry_in_s == 18.0
    fail(health, 2.0, status=429, retry_after_s=60.0)
    assert view(health, 2.0).retry_in_s == 60.0


def test_caller_faults_and_disconnects_do_not_count(health: Health) -> None:
    """A hundred bad requests do not make a provider bad."""
    before = view(health, 0.0)
    for _ in range(100):
        health.report(A, Verdict.IGNORED, 0.0)
    assert view(health, 0.0) == before
    fail(health, 0.0, 2)
    health.report(A, Verdict.IGNORED, 0.0)
    fail(health, 0.0)
    assert view(health, 0.0).state is State.COOLING, "nor do they break a row of failures"


def test_the_score_is_what_the_formula_says() -> None:
    """(s+1)/(s+f+1) × (0.7 + 0.2·best/p50 + 0.1·best/p95)."""
    assert score(WindowStats(0, 0, None, None), None, None) == 1.0
    assert score(WindowStats(3, 0, 0.5, 1.0), 0.5, 1.0) == 1.0
    assert score(WindowStats(0, 1, None, None), 0.5, 1.0) == 0.5
    assert score(WindowStats(8, 1, 1.0, 4.0), 0.5, 1.0) == pytest.approx(0.9 * (0.7 + 0.1 + 0.025))


def test_scores_compare_deployments_of_one_model(health: Health) -> None:
    """Twice as slow as the best of the same model costs 15 %; another model does not matter."""
    for deployment, latency_s in ((A, 0.2), (B, 0.4), (C, 9.0)):
        health.report(deployment, Verdict.SUCCESS, 0.0, latency_s=latency_s)
    by_id = {each.deployment: each for each in health.snapshot_view(0.0)}
    assert by_id["a"].score == by_id["c"].score == 1.0
    assert by_id["b"].score == pytest.approx(0.85, abs=0.02)
    assert by_id["b"].p50_ms == pytest.approx(400, rel=0.05)
    assert health.scores([A, B], 0.0) == [by_id["a"].score, by_id["b"].score]


def test_a_reload_keeps_what_still_holds(health: Health) -> None:
    """A deployment that is gone or served by another endpoint starts afresh, the others keep their state."""
    for deployment in (A, B, C):
        for _ in range(3):
            health.report(deployment, Verdict.FAILURE, 0.0, reason="reset")
    health.follow(snapshot(TEXT.replace("127.0.0.1:2", "127.0.0.1:3")))
    assert [each.failures for each in health.snapshot_view(0.0)] == [3, 0, 0]
    health.follow(snapshot(TEXT.replace("  - {id: a, model: m, provider: p, upstream_model: u}\n", "")))
    assert [each.deployment for each in health.snapshot_view(0.0)] == ["b", "c"]
    health.report(A, Verdict.FAILURE, 0.0)
    health.follow(snapshot())
    assert view(health, 0.0).failures == 0, (
        "a late report about a deployment that is gone leaves nothing behind"
    )


steps = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.sampled_from([A, B, C]),
        st.sampled_from(list(Verdict)),
        st.none() | st.floats(allow_nan=True),
        st.sampled_from([0, 400, 429, 500, 503]),
        st.none() | st.floats(-10, 1000),
        st.booleans(),
    ),
    max_size=80,
)


@given(steps)
def test_whatever_is_reported_the_invariants_hold(
    reports: list[tuple[float, Deployment, Verdict, float | None, int, float | None, bool]],
) -> None:
    """Scores stay within 0 and 1, cool-downs within 300 s, and nothing cools for ever."""
    health, now = Health(), 0.0
    health.follow(snapshot())
    for pause, deployment, verdict, latency_s, status, retry_after_s, claims in reports:
        now += pause
        if claims:
            health.claim(deployment.id, now)
        health.report(
            deployment,
            verdict,
            now,
            latency_s=latency_s,
            reason="x",
            status=status,
            retry_after_s=retry_after_s,
        )
        for each in health.snapshot_view(now):
            assert 0.0 <= each.score <= 1.0
            assert each.success_rate is None or 0.0 <= each.success_rate <= 1.0
            assert (each.state is State.CLOSED) == (each.retry_in_s is None) == (each.why is None)
            assert each.retry_in_s is None or 0.0 <= each.retry_in_s <= 300.0
            assert (each.p50_ms is None) == (each.p95_ms is None)
            if each.p50_ms is not None and each.p95_ms is not None:
                assert 0 < each.p50_ms <= each.p95_ms < math.inf
    later = now + 301
    assert all(health.blocked(deployment.id, later) is None for deployment in (A, B, C))
    assert all(each.success_rate is None for each in health.snapshot_view(later))
