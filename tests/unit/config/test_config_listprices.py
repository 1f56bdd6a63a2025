"""Prices and context windows from the table: only where the file says nothing, and only of what the table knows."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot

from sovereign_ext.cli.main import main
from sovereign_ext.config.listprices import with_list_prices
from sovereign_ext.config.live import Live
from sovereign_ext.config.load import load, parse
from sovereign_ext.config.model import Config, Deployment
from sovereign_ext.config.trust import Price
from sovereign_ext.policy.evaluate import routable

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"

TEXT = """\
version: 1
models: [{id: m%(model)s}]
providers: [{id: p, kind: %(kind)s, endpoint: "%(endpoint)s"}]
deployments: [{id: d, model: m, provider: p, upstream_model: "%(name)s"%(more)s}]
"""


def filled(
    name: str = "gpt-4o",
    *,
    endpoint: str = OPENAI,
    kind: str = "openai",
    model: str = "",
    more: str = "",
    at: datetime = NOW,
) -> Config:
    said = {"name": name, "endpoint": endpoint, "kind": kind, "model": model, "more": more}
    return with_list_prices(parse(TEXT % said), at)


def priced(name: str = "gpt-4o", **said: Any) -> Price | None:
    return filled(name, **said).deployments[0].price


@pytest.fixture
def table() -> Any:
    """A table of one's own at ``https://api.openai.com``: prices by model's name."""

    def use(**prices: Any) -> None:
        models = [
            types.ModelInfo(id=name, match=types.ClauseEquals(equals=name), prices=price)
            for name, price in prices.items()
        ]
        provider = types.Provider(
            id="openai", name="OpenAI", api_pattern=r"https://api\.openai\.com", models=models
        )
        set_custom_snapshot(DataSnapshot(providers=[provider], from_auto_update=False))

    yield use
    set_custom_snapshot(None)


def test_a_list_price_and_its_source() -> None:
    """By the table itself: gpt-4o's price, cached input cheaper, the window, and who says so."""
    config = filled()
    price = config.deployments[0].price
    assert price is not None
    assert price.source == f"genai-prices {version('genai-prices')}"
    assert 0 < price.cached_input_nano_usd < price.input_nano_usd < price.output_nano_usd
    assert price.cache_write_nano_usd == price.input_nano_usd  # the table says nothing of writes
    assert config.deployments[0].context_window == 128_000
    assert config.models[0].context_window is None


def test_what_the_file_says_stays() -> None:
    """The whole price, also what it leaves out; the window too."""
    config = filled(model=", context_window: 99", more=", price: {input_per_mtok: 7}")
    price = config.deployments[0].price
    assert price == Price(input_per_mtok=Decimal(7))
    assert price is not None
    assert (price.source, price.cached_input_nano_usd) == ("configured", 7_000_000_000)
    assert (config.models[0].context_window, config.deployments[0].context_window) == (99, None)
    own = filled(model=", context_window: 99", more=", context_window: 7")
    assert own.deployments[0].context_window == 7


def test_a_price_in_the_file_does_not_keep_the_window_out() -> None:
    assert filled(more=", price: {input_per_mtok: 7}").deployments[0].context_window == 128_000


@pytest.mark.parametrize(
    "said",
    [
        {"name": "no-such-model"},
        {"endpoint": "https://llm.corp.example/v1"},
        {"endpoint": "http://127.0.0.1:8000/v1"},
        {"kind": "vllm"},
        {"kind": "ollama"},
        {"kind": "mock"},
        {"name": "text-embedding-3-small"},  # priced for input alone, and this deployment answers chats
    ],
    ids=lambda said: "-".join(said.values()),
)
def test_nothing_is_made_up(said: dict[str, Any]) -> None:
    """An unknown model, an unknown place, a server of one's own, half a price: none."""
    assert priced(**said) is None


def test_embeddings_cost_their_input() -> None:
    price = priced("text-embedding-3-small", more=", capabilities: [embeddings]")
    assert price is not None
    assert price.input_nano_usd > price.output_nano_usd == 0


def test_of_tiers_the_base(table: Any) -> None:
    tiers = types.TieredPrices(base=Decimal(2), tiers=[types.Tier(start=200_000, price=Decimal(4))])
    table(m=types.ModelPrice(input_mtok=tiers, output_mtok=Decimal("0.0000000001"), cache_write_mtok=tiers))
    price = priced("m")
    assert price is not None
    assert (price.input_nano_usd, price.cache_write_nano_usd) == (2_000_000_000, 2_000_000_000)
    assert price.output_nano_usd == 1  # rounded up, never to nothing


def test_of_dates_the_last_that_has_come(table: Any) -> None:
    def from_(day: date | None, dollars: int) -> types.ConditionalPrice:
        constraint = None if day is None else types.StartDateConstraint(start_date=day)
        prices = types.ModelPrice(input_mtok=Decimal(dollars), output_mtok=Decimal(dollars))
        return types.ConditionalPrice(constraint=constraint, prices=prices)

    table(m=[from_(None, 1), from_(date(2026, 11, 1), 2), from_(date(2026, 12, 1), 3)])
    asked = [priced("m", at=datetime(2026, month, 15, tzinfo=UTC)) for month in (10, 11, 12)]
    assert [price and price.input_nano_usd // 10**9 for price in asked] == [1, 2, 3]


@pytest.mark.parametrize("peak", [1, 9])
def test_of_hours_the_dearest(table: Any, peak: int) -> None:
    """Whatever the hour at which the file is read: the price would not follow the clock."""
    night = types.TimeOfDateConstraint(start_time=time(0, tzinfo=UTC), end_time=time(8, tzinfo=UTC))
    conditional = [
        types.ConditionalPrice(prices=types.ModelPrice(input_mtok=Decimal(5), output_mtok=Decimal(5))),
        types.ConditionalPrice(
            constraint=night, prices=types.ModelPrice(input_mtok=Decimal(peak), output_mtok=Decimal(peak))
        ),
    ]
    table(m=conditional)
    for hour in (4, 12):
        price = priced("m", at=NOW.replace(hour=hour))
        assert price is not None
        assert price.input_nano_usd == max(peak, 5) * 10**9


def test_a_charge_for_requests_is_no_price_for_tokens(table: Any) -> None:
    one = Decimal(1)
    table(m=types.ModelPrice(input_mtok=one, output_mtok=one, requests_kcount=one))
    assert priced("m") is None


def test_each_deployment_has_its_own_window() -> None:
    config = parse(
        "version: 1\nmodels: [{id: m}]\n"
        f'providers: [{{id: p, kind: openai, endpoint: "{OPENAI}"}}]\n'
        "deployments:\n"
        "  - {id: a, model: m, provider: p, upstream_model: gpt-4}\n"
        "  - {id: b, model: m, provider: p, upstream_model: gpt-4o}\n"
        "  - {id: c, model: m, provider: p, upstream_model: unknown}\n"
    )
    windows = [each.context_window for each in with_list_prices(config, NOW).deployments]
    assert windows == [8192, 128_000, None]


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was wanted")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert priced() is not None


def test_the_table_is_not_loaded_unless_it_is_needed() -> None:
    """Start-up does not pay for it where every price is given or nobody could know it."""
    text = TEXT % {"name": "u", "endpoint": OPENAI, "kind": "mock", "model": "", "more": ""}
    script = (
        "import sys\nfrom datetime import datetime, UTC\n"
        "from sovereign_ext.config.listprices import with_list_prices\n"
        "from sovereign_ext.config.load import parse\n"
        f"with_list_prices(parse({text!r}), datetime.now(UTC))\n"
        "assert not any(name.startswith('genai_prices') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_list_price_cannot_be_claimed_in_the_file() -> None:
    """Who says a price is not for the file to say."""
    with pytest.raises(Exception, match="catalogue"):
        priced(more=", price: {input_per_mtok: 1, catalogue: mine}")
    assert "price_source" not in Deployment.model_fields


def test_a_snapshot_has_them_and_a_check_judges_by_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looked up when the configuration is taken up; a capped policy is satisfied by a list price."""
    file = tmp_path / "sovereign.yaml"
    text = TEXT % {"name": "gpt-4o", "endpoint": OPENAI, "kind": "openai", "model": "", "more": ""}
    file.write_text(text + "policies: [{id: capped, cost_cap_usd: 1}]\n")
    live = Live(load(file), routable, pricing=lambda config: with_list_prices(config, NOW))
    price = live.snapshot.deployments["d"].price
    assert price is not None
    assert price.source.startswith("genai-prices ")
    assert live.snapshot.deployments["d"].context_window == 128_000
    assert main(["check", str(file)]) == 0
    assert "warning" not in capsys.readouterr().out
    file.write_text(text.replace("gpt-4o", "unknown") + "policies: [{id: capped, cost_cap_usd: 1}]\n")
    assert main(["check", str(file)]) == 0
    assert "'d' fails cost (no price)" in capsys.readouterr().out
