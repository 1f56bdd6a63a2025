"""Metering through real Envoy: what calls use is in the log, in usage, in invoices and in exports, to the nano-dollar.

One stack is shared; every kind of call is made once for each of two tenants and their keys before the first test.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
import wire
from stack import HELLO, ConfigFile, Row, Stack, eventually

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "metering"))

pytestmark = pytest.mark.dataplane

TOKENS = {"prompt_tokens": 1_001, "completion_tokens": 77, "total_tokens": 1_078}
CACHED = {**TOKENS, "prompt_tokens_details": {"cached_tokens": 600}}
PRICES = {
    "chat": {"input_per_mtok": "2.5", "output_per_mtok": "10.123457", "cached_input_per_mtok": "0.3"},
    "cheap": {"input_per_mtok": "0.000007"},
}


@dataclass
class World:
    """The stack, its providers, the keys by tenant, and how many calls each tenant made."""

    stack: Stack
    mocks: dict[str, RunningMock]
    keys: dict[str, list[str]]
    calls: Counter[str] = field(default_factory=Counter)

    def call(self, tenant: str, model: str, *, key: int = 0, **more: Any) -> wire.Reply:
        self.calls[tenant] += 1
        body = {"model": model, "messages": HELLO, "max_tokens": 500, **more}
        return wire.call(self.stack.port, key=self.keys[tenant][key], body=body)

    def leave(self, tenant: str) -> None:
        """A client that goes away in the middle of a stream."""
        self.calls[tenant] += 1
        body = {"model": "chat", "messages": HELLO, "max_tokens": 500, "stream": True}
        with wire.open_call(self.stack.port, key=self.keys[tenant][0], body=body) as opened:
            opened.read_until(b'"content"')

    def ask(self, path: str, **query: Any) -> Any:
        """A management resource as the admin sees it."""
        given = f"?{urlencode(query, doseq=True)}" if query else ""
        return self.stack.management(f"/sf/v1/{path}{given}")

    def rows(self, tenant: str) -> list[Row]:
        return self.stack.rows("tenant = ?", tenant)

    def sovereign(self, *arguments: str, code: int = 0) -> str:
        """Run the command beside the gateway; its output."""
        environ = {**os.environ, "SF_ADMIN_KEY": self.stack.config.admin_key}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sovereign_ext.cli.main", *arguments],
            capture_output=True, text=True, timeout=120, check=False, env=environ, cwd=self.stack.root,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stack.port}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as running:
        config = ConfigFile()
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "broken")}
        for name, mock in mocks.items():
            config.provider(name, "openai", mock.url)
        config.model("chat", ["one"])
        config.model("cheap", ["one"])
        config.model("free", ["one"])
        config.model("down", ["broken"])
        for deployment in config.deployments:
            if deployment["model"] in PRICES:
                deployment["price"] = PRICES[deployment["model"]]
        keys = {
            "acme": config.tenant("acme", {}, {}, margin_percent="12.3456"),
            "globex": config.tenant("globex", {}),
            "bulk": config.tenant("bulk", {}),
        }
        world = World(running.enter_context(Stack(config)), mocks, keys)
        calls(world)
        yield world


def calls(world: World) -> None:
    """Every way a call can end."""
    mock = world.mocks["one"]
    world.mocks["broken"].fault(Fault(status=400, error_message="no"))
    for tenant in ("acme", "globex"):
        for usage in (TOKENS, CACHED):
            mock.clear()
            mock.fault(Fault(usage=usage))
            for model in ("chat", "cheap", "free"):
                assert world.call(tenant, model).status == 200
            assert world.call(tenant, "chat", stream=True).done
            assert world.call(tenant, "chat", key=len(world.keys[tenant]) - 1).status == 200
        assert world.call(tenant, "down").status == 400
        assert world.call(tenant, "no-such-model").status == 404
        mock.clear()
        mock.fault(Fault(tokens=3, stall=Stall(at=1)))
        world.leave(tenant)
        mock.clear()
    for tenant, number in world.calls.items():
        eventually(
            lambda t=tenant, n=number: len(world.rows(t)) == n, f"all calls of {tenant} are written down"
        )


def month() -> str:
    return f"{datetime.now(UTC):%Y-%m}"


def billed(rows: list[Row]) -> int:
    return sum(row.predicate.get("billed_nano_usd", 0) for row in rows)


@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_usage_is_what_the_entries_say(world: World, tenant: str) -> None:
    """By model and key: calls, tokens, cost and bill, also of calls that failed, were refused or abandoned."""
    expected: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in world.rows(tenant):
        said = row.predicate
        model = "" if said["result"] == "denied" else said["model"]
        expected[model, said["key"]].update(
            calls=1,
            prompt_tokens=said.get("prompt_tokens", 0),
            completion_tokens=said.get("completion_tokens", 0),
            cached_tokens=said.get("cached_tokens", 0),
            cost_nano_usd=said.get("cost_nano_usd", 0),
            billed_nano_usd=said.get("billed_nano_usd", 0),
        )
    found = world.ask("usage", tenant=tenant, group_by=["model", "key"])["usage"]
    assert len(found) == len(expected)
    for each in found:
        amounts = {name: int(value) for name, value in each["amounts"].items()}
        assert amounts.pop("cache_write_tokens") == amounts.pop("reasoning_tokens") == 0
        assert amounts == dict(expected[each["model"], each["key"]])
    results = {row.predicate["result"] for row in world.rows(tenant)}
    assert results == {"answered", "denied", "failed", "truncated"}


def test_the_price_of_a_call_is_recomputed_by_hand(world: World) -> None:
    """1,001 tokens of prompt, 600 of them cached, 77 of answer; and the tenant's margin, each rounded up."""
    costs = Counter((row.predicate["cost_nano_usd"], row.predicate["billed_nano_usd"])
                    for row in world.rows("acme")
                    if row.predicate["model"] == "chat" and row.predicate["result"] == "answered")  # fmt: skip
    plain = -(-(1_001 * 2_500_000_000 + 77 * 10_123_457_000) // 10**6)
    cached = -(-(401 * 2_500_000_000 + 600 * 300_000_000 + 77 * 10_123_457_000) // 10**6)
    assert costs == {(cost, -(-cost * 1_123_456 // 10**6)): 3 for cost in (plain, cached)}
    cheap = {
        row.predicate["cost_nano_usd"] for row in world.rows("acme") if row.predicate["model"] == "cheap"
    }
    assert cheap == {8}  # 1,001 times 7 millionths of a nano-dollar, up


def test_buckets_and_cross_tenant(world: World) -> None:
    """Each sum adds up to all, and a tenant's key shows its own and no cost."""
    whole = world.ask("usage", group_by="tenant", tenant="acme")["usage"][0]["amounts"]
    for bucket in ("hour", "day", "month"):
        parts = world.ask("usage", tenant="acme", bucket=bucket)["usage"]
        assert sum(int(each["amounts"]["calls"]) for each in parts) == int(whole["calls"])
    reply = wire.call(
        world.stack.port, "/sf/v1/usage?group_by=tenant", key=world.keys["acme"][0], method="GET"
    )
    assert [each["tenant"] for each in reply.json["usage"]] == ["acme"]
    assert "cost_nano_usd" not in reply.json["usage"][0]["amounts"]
    other = wire.call(world.stack.port, "/sf/v1/usage?tenant=globex", key=world.keys["acme"][0], method="GET")
    assert other.json["usage"] == []
    misspelt = wire.call(
        world.stack.port, "/sf/v1/usage?tenat=globex", key=world.keys["acme"][0], method="GET"
    )
    assert misspelt.status == 400


def test_log_usage_and_invoice_agree_to_the_nano_dollar(world: World, tmp_path: Path) -> None:
    """`sovereign usage reconcile`, in the database and over an export elsewhere, and every line of the invoice."""
    for tenant in ("acme", "globex"):
        made = world.ask(f"tenants/{tenant}/invoices/{month()}")
        assert int(made["total"]["billed_nano_usd"]) == billed(world.rows(tenant))
        assert int(made["rows"]["count"]) == world.calls[tenant] == len(world.rows(tenant))
        assert sum(int(line["amounts"]["billed_nano_usd"]) for line in made["lines"]) == billed(
            world.rows(tenant)
        )
    margin = int(world.ask(f"tenants/acme/invoices/{month()}")["margin_nano_usd"])
    assert margin > 0

    size = len(world.stack.indices())
    eventually(lambda: int(world.ask("log")["published_size"]) >= size, "everything is under a checkpoint")
    reports = json.loads(
        world.sovereign("usage", "reconcile", "--state-dir", str(world.stack.state_dir), "--json")
    )
    found = {report["tenant"]: report for report in reports}
    for tenant in ("acme", "globex"):
        report = found[tenant]
        assert report["differences"] == []
        assert report["entries"] == report["verified"] == report["included"] == world.calls[tenant]
        assert report["total"]["billed_nano_usd"] == billed(world.rows(tenant))

    export, invoice = tmp_path / "rows.jsonl", tmp_path / "invoice.json"
    invoice.write_text(
        world.sovereign(
            "usage", "invoice", "--url", world.url, "--tenant", "acme", "--month", month(), "--json"
        )
    )
    world.sovereign(
        "audit", "export", "--url", world.url, "--full", "--output", str(export), "--filter", "tenant = acme"
    )
    offline = [
        *(
            "usage",
            "reconcile",
            "--state-dir",
            str(tmp_path),
            "--export",
            str(export),
            "--invoice",
            str(invoice),
        ),
        *("--keys", str(world.stack.state_dir / "log" / "public" / "log-keys.json"), "--url", world.url),
    ]
    assert "log, usage and invoice agree" in world.sovereign(*offline)
    lines = export.read_text().splitlines(keepends=True)
    export.write_text("".join(line for line in lines if '"result":"denied"' not in line))
    assert "differs: invoice rows: count is" in world.sovereign(*offline, code=1)
    export.write_text(
        "".join(lines).replace('"tenant":"acme","decision_id"', '"tenant":"acmf","decision_id"')
    )
    assert "differs: invoice total: calls is" in world.sovereign(*offline, code=1)


def test_reports_for_people(world: World) -> None:
    """`sovereign usage report` and `invoice` say the same numbers in dollars."""
    from sovereign_ext.policy.cost import usd_text  # noqa: PLC0415

    text = world.sovereign("usage", "report", "--url", world.url, "--by", "tenant", "--tenant", "acme")
    assert text.split()[:2] == ["tenant", "calls"]
    assert text.split()[-1] == usd_text(billed(world.rows("acme")))
    text = world.sovereign("usage", "invoice", "--url", world.url, "--tenant", "acme", "--month", month())
    assert usd_text(billed(world.rows("acme"))) in text
    assert "the month is not over" in text
    listed = world.sovereign("audit", "list", "--url", world.url, "--filter", "tenant = acme", "--last", "3")
    assert len(listed.splitlines()) == 3


def test_usage_lost_is_told_and_rebuilt(world: World) -> None:
    """A damaged table is a difference, by entry; `sovereign usage rebuild` makes it what the entries say, live."""
    database = sqlite3.connect(world.stack.state_dir / "log" / "log.db", timeout=10)
    victim = world.rows("acme")[0].index
    before = world.ask("usage", group_by=["tenant", "model", "key"])
    with database:
        database.execute("UPDATE usage SET billed_nano = billed_nano - 1 WHERE idx = ?", (victim,))
        database.execute("DELETE FROM usage_hours WHERE tenant = 'globex'")
    database.close()
    state = ("--state-dir", str(world.stack.state_dir))
    text = world.sovereign("usage", "reconcile", *state, code=1)
    assert f"differs: entry {victim}: usage has billed_nano" in text
    assert "differs: invoice line" in text
    world.sovereign("usage", "rebuild", *state)
    assert world.ask("usage", group_by=["tenant", "model", "key"]) == before
    world.sovereign("usage", "reconcile", *state)


def test_an_export_of_many_rows_takes_bounded_memory(world: World) -> None:
    """100,000 rows of 4 kB: neither the processor nor Envoy grows with them, nor while the reader waits."""
    copy_entries(world, 100_000)
    processes = [psutil.Process(world.stack.processor.pid), psutil.Process(world.stack.envoy.pid)]
    before = [process.memory_info().rss for process in processes]
    most = list(before)

    def look() -> None:
        for at, process in enumerate(processes):
            most[at] = max(most[at], process.memory_info().rss)

    path = "/sf/v1/auditRows:export?filter=tenant%20%3D%20bulk"
    lines = size = 0
    first = last = b""
    with wire.open_call(world.stack.port, path, key=world.stack.config.admin_key, method="GET") as opened:
        assert opened.headers["content-type"] == "application/jsonl"
        time.sleep(2.0)  # a reader that is slow to begin: what is not read is not made
        look()
        response = opened._response
        while piece := response.read1(1 << 20):
            first, last = first or piece, piece
            lines, size = lines + piece.count(b"\n"), size + len(piece)
            look()
    assert lines == 100_000
    assert last.endswith(b"\n")
    assert json.loads(first.split(b"\n")[0])["tenant"] == "bulk"
    grown = [(after - then) / 1e6 for after, then in zip(most, before, strict=True)]
    assert size > 100e6
    assert max(grown) < 60, f"{size / 1e6:.0f} MB made them grow by {grown} MB"
    assert world.call("acme", "chat").status == 200


def copy_entries(world: World, number: int) -> None:
    """Entries of the tenant ``bulk``, as its own calls would have made them but for their signatures."""
    from dataclasses import replace  # noqa: PLC0415

    from metering_world import predicate, row  # noqa: PLC0415

    from sovereign_ext.storage.engine import open_sqlite  # noqa: PLC0415
    from sovereign_ext.storage.entries import EntryStore  # noqa: PLC0415

    store = EntryStore(open_sqlite(world.stack.state_dir / "log" / "log.db", busy_timeout_ms=20_000))
    one = row(predicate(tenant="bulk", padding="x" * 1_500))
    for start in range(0, number, 1_000):
        store.append(
            [replace(one, decision_id=f"bulk-{at}", usage=None) for at in range(start, start + 1_000)]
        )
    store.close()
