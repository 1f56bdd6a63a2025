"""How well each deployment has served lately, and whether it may be asked right now.

Every deployment has a window of counts and latencies (``window``) and a circuit:

    closed ──3 failures in a row, a 429, or any Retry-After──▶ cooling ──time passes──▶ half_open
      ▲                                                          ▲                        │   │
      └──────────────────────── success ─────────────────────────┼────────────────────────┘   │
                                                                 └───── failure: twice as long┘

A cool-down lasts as long as the provider's ``Retry-After`` says (at most 300 s), otherwise 1 s, doubling up
to 30 s with each failed probe. Half open lets one probe at a time through.

Caller faults and clients that went away are ``IGNORED``: they say nothing about a provider. What comes back
from calls sent before a cool-down began is counted, but neither ends nor doubles it: ten calls that fail
together are one incident.

Several routers tell each other what they saw (``share``, ``take``, ``merge``): then the windows hold what all of them
did, failures in a row are counted together, and a circuit that opens or closes on one does so on the others. Who
opened it probes first; the others hold back a little longer, so that as a rule there is one probe.

Times are monotonic seconds given by the caller. State is per process and belongs to one event loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sovereign_ext.config.model import Deployment, Provider
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.routing.sharing import Record, Seen
from sovereign_ext.routing.window import EMPTY, Window, WindowStats

FAILURES_TO_OPEN: Final = 3
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0
RETRY_AFTER_MAX_S: Final = 300.0
PROBE_MAX_S: Final = 60.0
"""A probe nobody reported or released by then is taken for lost, so that its deployment is not."""


class Verdict(StrEnum):
    """What one attempt says about its deployment."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"  # nothing: the caller erred or went away


class State(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    COOLING = "cooling"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Probe:
    """The right to be the one call that tries a half-open deployment."""

    deployment: str
    claim: int


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """One deployment as ``sovereign status`` and the management API show it."""

    deployment: str
    provider: str
    model: str
    state: State
    score: float  # 0 to 1, see score()
    successes: int
    failures: int
    success_rate: float | None  # None without traffic
    p50_ms: float | None  # to first content
    p95_ms: float | None
    consecutive_failures: int
    why: str | None  # reason code of the failure that opened the circuit; None when closed
    retry_in_s: float | None  # seconds until it may be asked again; 0 when half open, None when closed


def score(stats: WindowStats, best_p50_s: float | None, best_p95_s: float | None) -> float:
    """How good a deployment is compared with the best latencies among its peers: 0 to 1, higher is better.

    ``(successes + 1) / (successes + failures + 1) × (0.7 + 0.2 × best_p50/p50 + 0.1 × best_p95/p95)``

    Success dominates: being infinitely slower than the best costs at most 30 %. A ratio without samples is
    1, and so is the score of an empty window: what has not failed yet is tried.
    """
    served = (stats.successes + 1) / (stats.successes + stats.failures + 1)
    if stats.p50_s is None or stats.p95_s is None or best_p50_s is None or best_p95_s is None:
        return served
    slower = 0.2 * (1 - min(1.0, best_p50_s / stats.p50_s)) + 0.1 * (1 - min(1.0, best_p95_s / stats.p95_s))
    return served * (1 - slower)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a deployment may not be asked. Half open here means that its probe is in flight."""

    state: State
    why: str
    retry_in_s: float
    rate_limited: bool


class _Circuit:
    __slots__ = (
        "backoff_s",
        "claim",
        "claimed_at",
        "in_a_row",
        "opened_at",
        "rate_limited",
        "until",
        "why",
        "window",
    )

    def __init__(self, now: float) -> None:
        self.window = Window(now)
        self.in_a_row = 0
        self.backoff_s = BACKOFF_FIRST_S  # of the next cool-down
        self.until: float | None = None  # None: closed
        self.opened_at = now
        self.why = ""
        self.rate_limited = False
        self.claim: int | None = None  # of the probe in flight
        self.claimed_at = 0.0

    def state(self, now: float) -> State:
        if self.until is None:
            return State.CLOSED
        return State.COOLING if now < self.until else State.HALF_OPEN

    def probing(self, now: float) -> bool:
        return self.claim is not None and now - self.claimed_at < PROBE_MAX_S

    def close(self) -> bool:
        """Whether it was open."""
        was_open = self.until is not None
        self.until, self.backoff_s, self.in_a_row = None, BACKOFF_FIRST_S, 0
        return was_open

    def fail(self, now: float, why: str, rate_limited: bool, retry_after_s: float | None) -> bool:
        """Whether a cool-down began or grew."""
        asked_s = None if retry_after_s is None else min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S)
        state = self.state(now)
        if self.until is not None and state is State.COOLING:
            # Sent before the cool-down began. It only grows if the provider asks for more time than it has.
            if asked_s is None or now + asked_s <= self.until:
                return False
        elif state is State.HALF_OPEN:
            self.backoff_s = min(self.backoff_s * 2, BACKOFF_MAX_S)
        elif asked_s is None and not rate_limited and self.in_a_row < FAILURES_TO_OPEN:
            return False
        self.until = now + (self.backoff_s if asked_s is None else asked_s)
        self.opened_at, self.why, self.rate_limited = now, why, rate_limited
        return True

    def merge(self, seen: Seen, now: float, age_s: float, late_s: float) -> None:
        self.window.add(now, age_s, seen.successes, seen.failures, seen.latencies)
        if seen.closed and self.until is not None and self.opened_at <= now - age_s:
            self.close()
        state = self.state(now)
        if seen.successes and state is not State.COOLING:
            self.in_a_row = 0
        self.in_a_row += seen.streak
        if seen.opened is not None:
            left_s = min(seen.opened.left_s, RETRY_AFTER_MAX_S) - age_s + late_s
            if left_s > 0 and (self.until is None or now + left_s > self.until):
                self.until, self.opened_at = now + left_s, now - age_s
                self.backoff_s = min(max(self.backoff_s, seen.opened.backoff_s), BACKOFF_MAX_S)
                self.why, self.rate_limited = seen.why, seen.opened.rate_limited
        elif seen.streak and state is State.CLOSED:
            self.fail(now, seen.why, False, None)


class Health:
    """The health of all deployments, by deployment id."""

    def __init__(self) -> None:
        self._circuits: dict[str, _Circuit] = {}
        self._served: dict[str, tuple[Deployment, Provider]] | None = None
        self._claims = 0
        self._record: Record | None = None

    def share(self) -> None:
        """Begin to note what ``take`` gives."""
        self._record = Record()

    def take(self, now: float) -> tuple[Seen, ...]:
        """What this router saw since the last time, for the others."""
        return () if self._record is None else self._record.take(now)

    def merge(self, seen: Iterable[Seen], now: float, age_s: float, late_s: float) -> None:
        """Take note of what another router saw ``age_s`` seconds ago.

        ``late_s`` is how much longer than that router this one leaves a deployment alone. Deployments that this
        configuration does not have are left out.
        """
        for each in seen:
            if self._served is not None and each.deployment not in self._served:
                continue
            circuit = self._circuits.get(each.deployment)
            if circuit is None:
                circuit = self._circuits[each.deployment] = _Circuit(now)
            circuit.merge(each, now, max(age_s, 0.0), late_s)

    def follow(self, snapshot: Snapshot) -> None:
        """Keep to the deployments of ``snapshot``. One that is new, or whose provider changed, starts
        afresh.
        """
        served = {
            deployment.id: (deployment, snapshot.providers[deployment.provider])
            for deployment in snapshot.config.deployments
        }
        before = self._served or {}
        self._circuits = {
            name: circuit
            for name, circuit in self._circuits.items()
            if name in served and before.get(name, served[name]) == served[name]
        }
        self._served = served

    def report(
        self,
        deployment: Deployment,
        verdict: Verdict,
        now: float,
        *,
        latency_s: float | None = None,
        reason: str = "",
        status: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        """Take note of how an attempt went. Also gives back the probe, if one was in flight.

        ``latency_s`` (of a success): seconds from sending to the first content, ``None`` if there was none.
        Of a failure: ``reason`` is the attempt's outcome code, ``status`` the provider's HTTP status or 0,
        ``retry_after_s`` what the provider asked for in its header or body.
        """
        if self._served is not None and deployment.id not in self._served:
            return  # a call begun under an older configuration: keep no state for what is gone
        circuit = self._circuits.get(deployment.id)
        if circuit is None:
            circuit = self._circuits[deployment.id] = _Circuit(now)
        if verdict is Verdict.SUCCESS:
            circuit.window.success(now, latency_s)
            closed = circuit.state(now) is not State.COOLING and circuit.close()
            if self._record is not None:
                self._record.success(deployment.id, latency_s, closed)
        elif verdict is Verdict.FAILURE:
            circuit.window.failure(now)
            circuit.in_a_row += 1
            opened = circuit.fail(now, reason, status == 429, retry_after_s)
            if self._record is not None:
                self._record.failure(deployment.id, reason)
                if opened and circuit.until is not None:
                    until, backoff_s = circuit.until, circuit.backoff_s
                    self._record.opened(deployment.id, until, backoff_s, circuit.rate_limited, reason)
        circuit.claim = None

    def release(self, probe: Probe) -> None:
        """Give back a probe that will not be reported, because its attempt was never made. Harmless when
        late.
        """
        circuit = self._circuits.get(probe.deployment)
        if circuit is not None and circuit.claim == probe.claim:
            circuit.claim = None

    def claim(self, deployment: str, now: float) -> Probe | None:
        """Reserve the probe of a half-open deployment; ``None`` when it is not half open, so needs no
        probe.
        """
        circuit = self._circuits.get(deployment)
        if circuit is None or circuit.state(now) is not State.HALF_OPEN:
            return None
        self._claims += 1
        circuit.claim, circuit.claimed_at = self._claims, now
        return Probe(deployment, self._claims)

    def blocked(self, deployment: str, now: float) -> Blocked | None:
        """Why the deployment must not be asked now; ``None`` if it may be."""
        circuit = self._circuits.get(deployment)
        if circuit is None or circuit.until is None:
            return None
        if now < circuit.until:
            return Blocked(State.COOLING, circuit.why, _left(circuit.until, now), circuit.rate_limited)
        if circuit.probing(now):
            return Blocked(State.HALF_OPEN, circuit.why, BACKOFF_FIRST_S, circuit.rate_limited)
        return None

    def p95_ms(self, deployment: str, now: float) -> int | None:
        """Rolling 95th percentile of its latency to first content, rounded up; ``None`` without a sample."""
        p95_s = self._stats(deployment, now).p95_s
        return None if p95_s is None else math.ceil(p95_s * 1000)

    def scores(self, deployments: Sequence[Deployment], now: float) -> list[float]:
        """The score of each, relative to the best of those given (which should serve the same model)."""
        stats = [self._stats(deployment.id, now) for deployment in deployments]
        best_p50_s, best_p95_s = _best(stats)
        return [score(each, best_p50_s, best_p95_s) for each in stats]

    def snapshot_view(self, now: float) -> tuple[DeploymentHealth, ...]:
        """Every deployment of the configuration followed, in file order, scored among those of its model."""
        served = self._served or {}
        by_model: dict[str, list[WindowStats]] = {}
        for name, (deployment, _) in served.items():
            by_model.setdefault(deployment.model, []).append(self._stats(name, now))
        best = {model: _best(stats) for model, stats in by_model.items()}
        return tuple(self._view(deployment, best[deployment.model], now) for deployment, _ in served.values())

    def _stats(self, deployment: str, now: float) -> WindowStats:
        circuit = self._circuits.get(deployment)
        return EMPTY if circuit is None else circuit.window.stats(now)

    def _view(
        self, deployment: Deployment, best: tuple[float | None, float | None], now: float
    ) -> DeploymentHealth:
        circuit = self._circuits.get(deployment.id) or _Circuit(now)
        stats = circuit.window.stats(now)
        total = stats.successes + stats.failures
        return DeploymentHealth(
            deployment=deployment.id,
            provider=deployment.provider,
            model=deployment.model,
            state=circuit.state(now),
            score=score(stats, *best),
            successes=stats.successes,
            failures=stats.failures,
            success_rate=stats.successes / total if total else None,
            p50_ms=None if stats.p50_s is None else stats.p50_s * 1000,
            p95_ms=None if stats.p95_s is None else stats.p95_s * 1000,
            consecutive_failures=circuit.in_a_row,
            why=None if circuit.until is None else circuit.why,
            retry_in_s=None if circuit.until is None else _left(circuit.until, now),
        )


def _left(until: float, now: float) -> float:
    """Seconds of a cool-down that are left; rounding never makes it longer than the longest there is."""
    return min(max(0.0, until - now), RETRY_AFTER_MAX_S)


def _best(stats: Iterable[WindowStats]) -> tuple[float | None, float | None]:
    known = [each for each in stats if each.p50_s is not None]
    return (
        min((each.p50_s for each in known if each.p50_s is not None), default=None),
        min((each.p95_s for each in known if each.p95_s is not None), default=None),
    )
