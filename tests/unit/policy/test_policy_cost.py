"""Costs: exact, rounded up, never below what the answer really costs within the bounds given."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.model import Capability, Deployment, Model
from sovereign_ext.config.trust import Price
from sovereign_ext.policy.cost import (
    MOST_NANO_USD,
    UNBOUNDED_TOKENS,
    cost_nano_usd,
    estimate_nano_usd,
    output_tokens,
    usd_text,
    window_of,
)
from sovereign_ext.policy.rules.base import RequestFacts

PRICE = Price(input_per_mtok=Decimal("2.5"), output_per_mtok=Decimal(10))
SMALL, ANY = 1000, None  # context windows
CHAT, EMBEDDINGS = Capability.CHAT, Capability.EMBEDDINGS


@pytest.mark.parametrize(
    ("window", "request_", "tokens"),
    [
        (SMALL, RequestFacts(CHAT, 100, 50), 50),
        (SMALL, RequestFacts(CHAT, 100, 5000), 5000),
        (SMALL, RequestFacts(CHAT, 100), 900),
        (SMALL, RequestFacts(CHAT, 100, None, 2), 1800),
        (SMALL, RequestFacts(CHAT, 1500), 0),
        (ANY, RequestFacts(CHAT, 100, None, 2), 2 * UNBOUNDED_TOKENS),
        (ANY, RequestFacts(EMBEDDINGS, 100), 0),
    ],
)
def test_what_can_be_generated(window: int | None, request_: RequestFacts, tokens: int) -> None:
    """The caller's bound, else the rest of the window, else a stated constant."""
    assert output_tokens(window, request_) == tokens


@pytest.mark.parametrize(
    ("own", "model_s", "window"), [(None, None, None), (None, 9, 9), (5, 9, 5), (5, None, 5)]
)
def test_whose_window(own: int | None, model_s: int | None, window: int | None) -> None:
    """The deployment's comes before the model's."""
    deployment = Deployment(id="d", model="m", provider="p", upstream_model="u", context_window=own)
    assert window_of(deployment, Model(id="m", context_window=model_s)) == window


def test_an_estimate() -> None:
    """1000 tokens at 2.5 and 100 at 10 dollars for a million: 0.0035 dollars."""
    estimate = estimate_nano_usd(PRICE, ANY, RequestFacts(CHAT, 1000, 100))
    assert estimate == 3_500_000
    assert usd_text(estimate) == "0.0035"
    assert estimate_nano_usd(None, ANY, RequestFacts(CHAT, 1000, 100)) is None


@pytest.mark.parametrize(
    ("prompt", "completion", "cost"),
    [(None, None, None), (1000, None, 2_500_000), (None, 1, 10_000), (0, 0, 0), (1, 0, 2_500)],
)
def test_the_actual_cost(prompt: int | None, completion: int | None, cost: int | None) -> None:
    """No usage, no cost: it is not made up."""
    assert cost_nano_usd(PRICE, prompt, completion) == cost
    assert cost_nano_usd(None, prompt, completion) is None


prices = st.decimals(0, 1_000_000, places=9)
counts = st.integers(0, 10**9)


@given(prices, prices, counts, counts)
def test_integers_agree_with_exact_decimals(
    input_: Decimal, output: Decimal, prompt: int, completion: int
) -> None:
    """Rounded up to a whole billionth, and capped where JSON would lose digits."""
    price = Price(input_per_mtok=input_, output_per_mtok=output)
    exact = (input_ * prompt + output * completion) * 1000
    wanted = min(int(exact.to_integral_value(ROUND_CEILING)), MOST_NANO_USD)
    assert cost_nano_usd(price, prompt, completion) == wanted


CACHE = Price(
    input_per_mtok=Decimal(3),
    output_per_mtok=Decimal(15),
    cached_input_per_mtok=Decimal("0.3"),
    cache_write_per_mtok=Decimal("3.75"),
)


def test_cached_and_written_tokens_cost_what_the_price_says_of_them() -> None:
    """7 plain, 9000 read and 100 written tokens of a prompt of 9107; without prices for a cache all are plain."""
    assert cost_nano_usd(CACHE, 9107, 1, cached_tokens=9000, cache_write_tokens=100) == (
        7 * 3_000 + 9000 * 300 + 100 * 3_750 + 15_000
    )
    assert cost_nano_usd(PRICE, 9107, 1, cached_tokens=9000, cache_write_tokens=100) == cost_nano_usd(
        PRICE, 9107, 1
    )
    free = Price(input_per_mtok=Decimal(3), cached_input_per_mtok=Decimal(0))
    assert cost_nano_usd(free, 10, 0, cached_tokens=10) == 0


def test_the_estimate_takes_the_dearest_input() -> None:
    """A cache that is written to must not make an answer dearer than what was promised."""
    assert estimate_nano_usd(CACHE, ANY, RequestFacts(CHAT, 1000, 0)) == 3_750_000


maybe_prices = st.none() | prices


@given(prices, prices, maybe_prices, maybe_prices, counts, counts, st.data())
def test_an_answer_within_the_estimates_bounds_never_costs_more(
    input_: Decimal,
    output: Decimal,
    read: Decimal | None,
    write: Decimal | None,
    prompt: int,
    limit: int,
    data: st.DataObject,
) -> None:
    """Whatever share of the bounds it uses, and whatever of it a cache had."""
    price = Price(
        input_per_mtok=input_, output_per_mtok=output, cached_input_per_mtok=read, cache_write_per_mtok=write
    )
    estimate = estimate_nano_usd(price, ANY, RequestFacts(CHAT, prompt, limit))
    used = data.draw(st.integers(0, prompt))
    cached = data.draw(st.integers(0, used))
    actual = cost_nano_usd(
        price,
        used,
        data.draw(st.integers(0, limit)),
        cached_tokens=cached,
        cache_write_tokens=data.draw(st.integers(0, used - cached)),
    )
    assert estimate is not None
    assert actual is not None
    assert actual <= estimate


@given(st.integers(0, 10**15))
def test_dollars_are_written_exactly(nano: int) -> None:
    assert Decimal(usd_text(nano)).scaleb(9) == nano
    assert not usd_text(nano).endswith(".")
