"""What metrics cost by themselves: a call, in all that is told of it, and a scrape.

A call of a tenant as ``extproc`` tells it: the scan of its request, its entry, its end with one attempt and with three.
CPU time of this process, the least of several rounds, because whatever disturbs only adds.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from msgspec.structs import replace

from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.telemetry.facts import Appended, CallEnded, Scanned
from sovereign_ext.telemetry.families.base import Deployed
from sovereign_ext.telemetry.metrics import Metrics
from sovereign_ext.telemetry.readings import ConfigReading, LogReading, Readings

CALLS: Final = 10_000  # in one round
ROUNDS: Final = 7
TENANTS: Final = 1_000  # of the scrape

_ATTEMPTS: Final = tuple(
    AttemptFact(f"m.p{number}", f"p{number}", outcome, status, 1_000, 80)
    for number, outcome, status in ((1, "status_503", 503), (2, "first_byte_timeout", 0), (3, "ok", 200))
)
_CALL: Final = CallFacts(
    decision_id="dec-1",
    tenant="t",
    endpoint="chat.completions",
    stream=False,
    result=Result.ANSWERED,
    status=200,
    error_code=None,
    started_ms=1_000,
    finished_ms=1_420,
    policy="p",
    policy_digest=None,
    model="m",
    model_hash=None,
    model_hash_basis="none",
    deployment="m.p3",
    provider="p3",
    tier_required="open",
    tier_observed="open",
    tier_reasons=(),
    attempts=_ATTEMPTS[-1:],
    prompt_tokens=900,
    completion_tokens=17,
    digests=Digests(),
    cost_nano_usd=2_000_000,
    billed_nano_usd=3_000_000,
)
_CALLS: Final = {"one attempt": _CALL, "three attempts": replace(_CALL, attempts=_ATTEMPTS)}
_STANDS: Final = Readings(0, True, LogReading(0, 0, True, True), ConfigReading(1, 0.0, 0), (), None)


def measure() -> dict[str, float]:
    """Microseconds of CPU that metrics add to a call, by how many attempts it took."""
    return {name: min(_round(_metrics(), facts) for _ in range(ROUNDS)) for name, facts in _CALLS.items()}


def scrape_ms() -> tuple[float, int]:
    """Milliseconds of CPU of one scrape after calls of a thousand tenants, and its bytes."""
    found = _metrics()
    for number in range(TENANTS):
        _tell(found, replace(_CALL, tenant=f"tenant-{number:04}"))
    text = b""

    def once() -> float:
        nonlocal text
        began = time.process_time()
        text = asyncio.run(found.exposition(lambda: _STANDS))
        return (time.process_time() - began) * 1e3

    return min(once() for _ in range(ROUNDS)), len(text)


def _metrics() -> Metrics:
    known = {each.deployment: Deployed("m", "openai") for each in _ATTEMPTS}
    return Metrics(lambda deployment: known[deployment])


def _round(found: Metrics, facts: CallFacts) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        _tell(found, facts)
    return (time.process_time() - began) / CALLS * 1e6


def _tell(found: Metrics, facts: CallFacts) -> None:
    """As ``extproc.gateway`` does, its readings of the clock included."""
    began = time.perf_counter()
    found.tell(Scanned(facts.tenant, facts.policy, "redacted", 2_048, time.perf_counter() - began, ()))
    began = time.perf_counter()
    found.tell(Appended("outcome", time.perf_counter() - began, True))
    found.tell(CallEnded(facts, True))


if __name__ == "__main__":
    for what, cost_us in measure().items():
        print(f"{what:24} {cost_us:6.1f} µs")
    took_ms, size = scrape_ms()
    print(f"scrape, {TENANTS} tenants    {took_ms:6.1f} ms, {size:,} bytes")
