"""What limits and spend caps cost a call, by themselves: what it draws on, the ledger's answer, headers, settling.

A call of a tenant with four limits and two caps, chat with a chain of five providers, as ``extproc`` asks: the
embedded ledger with its counters loaded, the journal on the disk at hand. CPU time of this process, kernel included,
the least of several rounds, because whatever disturbs only adds.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from sovereign_ext.config.load import parse
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.exchange.admission import demanded, limit_headers
from sovereign_ext.exchange.decide import decide, receive
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.embedded import EmbeddedLedger
from sovereign_ext.extproc.journal import Journal
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health
from sovereign_ext.tenants.ledger import Admitted, Used
from sovereign_ext.tenants.resolve import Identity

CALLS: Final = 2_000  # in one round
ROUNDS: Final = 7
_LIMIT_MS: Final = 60_000
_WALL_MS: Final = 1_800_000_000_000
_BODY: Final = json.dumps(
    {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello. " * 100}]}
).encode()
_LIMITS: Final[dict[str, dict[str, Any]]] = {
    "four limits": {
        "limits": [
            {"per": "minute", "requests": 10**9, "tokens_in": 10**12, "tokens_out": 10**12},
            {"concurrent": 100},
        ]
    },
    "four limits, two caps": {
        "limits": [
            {"per": "minute", "requests": 10**9, "tokens_in": 10**12, "tokens_out": 10**12},
            {"concurrent": 100},
        ],
        "spend_caps": [{"usd": 1_000_000}, {"usd": 1_000_000, "per": "day"}],
    },
}


class _NothingSpent:
    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        return 0


def measure(directory: Path) -> dict[str, float]:
    """Microseconds of CPU that each call costs more, by what limits it."""
    return {name: _least(directory, terms) for name, terms in _LIMITS.items()}


def _least(directory: Path, terms: dict[str, Any]) -> float:
    exchange = _decided(terms)
    path = directory / "bench-reservations.jsonl"
    ledger = EmbeddedLedger(_NothingSpent(), Journal(path))
    try:
        _load(ledger, exchange)
        return min(_round(ledger, exchange, number) for number in range(ROUNDS))
    finally:
        ledger.close()
        path.unlink()


def _round(ledger: EmbeddedLedger, exchange: Exchange, number: int) -> float:
    used = Used(300, 20, 1_000)
    began = time.process_time()
    for call in range(CALLS):
        exchange.decision_id = f"dec-{number:08x}{call:024x}"
        exchange._facts = None  # made for the outcome's entry anyway; here it counts
        assert exchange.decision is not None
        demand = demanded(exchange, exchange.decision, _LIMIT_MS)
        assert demand is not None
        verdict = ledger.admit(demand, _WALL_MS)
        assert isinstance(verdict, Admitted)
        exchange.limit_headers = limit_headers(verdict.buckets)
        ledger.settle(exchange.decision_id, used, _WALL_MS)
    return (time.process_time() - began) / CALLS * 1e6


def _load(ledger: EmbeddedLedger, exchange: Exchange) -> None:
    """Have the counters read, so that answers are at hand."""
    assert exchange.decision is not None
    demand = demanded(exchange, exchange.decision, _LIMIT_MS)
    assert demand is not None
    for reserve in demand.reserves:
        ledger.counts.load(reserve, 0, _WALL_MS)


def _decided(terms: dict[str, Any]) -> Exchange:
    names = [f"p{number}" for number in range(5)]
    config = parse(
        json.dumps(
            {
                "version": 1,
                "tenants": [{"id": "t", "policies": ["p"], "default_policy": "p", **terms}],
                "policies": [{"id": "p", "providers": names}],
                "models": [{"id": "m"}],
                "providers": [
                    {"id": name, "kind": "openai", "endpoint": f"http://{name}.example:1/v1"}
                    for name in names
                ],
                "deployments": [
                    {
                        "id": f"m.{name}",
                        "model": "m",
                        "provider": name,
                        "upstream_model": "up",
                        "price": {"input_per_mtok": 1, "output_per_mtok": 2},
                    }
                    for name in names
                ],
            }
        )
    )
    snapshot = Snapshot.from_config(config, version=1, digest="d", routable=routable)
    health = Health()
    health.follow(snapshot)
    now = Moment(0.0, _WALL_MS)
    identity = Identity(config.tenants[0], "k")
    exchange = Exchange(f"dec-{0:032x}", now, Endpoint.CHAT, identity, snapshot, bytes(32))
    exchange.decision = decide(exchange, *receive(exchange, _BODY, None), health, ADAPTERS, now)
    return exchange


if __name__ == "__main__":
    for what, cost_us in measure(Path()).items():
        print(f"{what:24} {cost_us:6.1f} µs")
