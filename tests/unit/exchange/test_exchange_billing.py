"""What a tenant owes: by the provider's count where it is complete, by ours else, nothing where nobody answered."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from exchange_world import COMPLETION, JSON_TYPE, ROLE, SNAPSHOT, SSE, TEXT, Run, at, exchange
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sovereign_ext.attest.facts import Result
from sovereign_ext.config.trust import Price
from sovereign_ext.exchange.attempt import Attempt
from sovereign_ext.exchange.billing import Charge, bill, event_tokens, margin_text
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.policy.cost import MOST_NANO_USD, billed_nano_usd
from sovereign_ext.policy.rules.base import Candidate
from sovereign_ext.providers.base import Target, Usage

PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2))
"""1,000 and 2,000 billionths of a dollar for a token."""


def candidate(price: Price | None = PRICE, estimate: int | None = 100_000) -> Candidate:
    deployment = SNAPSHOT.deployments["m.a"].model_copy(update={"price": price})
    return Candidate(
        deployment, SNAPSHOT.providers["a"], SNAPSHOT.models["m"], cost_nano_usd=estimate if price else None
    )


def priced(*, stream: bool, margin: str = "0") -> Exchange:
    """A call of a tenant with that margin, whose deployments have a price and an estimate."""
    made = exchange(stream=stream)
    assert made.decision is not None
    plan = tuple(structs.replace(each, candidate=candidate()) for each in made.decision.plan)
    made.decision = structs.replace(made.decision, plan=plan)
    tenant = made.identity.tenant.model_copy(update={"margin_percent": Decimal(margin)})
    made.identity = replace(made.identity, tenant=tenant)
    return made


@given(st.integers(0, 10**15), st.decimals(0, 1000, places=4))
def test_a_margin_is_added_and_rounded_up(cost: int, margin: Decimal) -> None:
    exact = Fraction(cost) * (100 + Fraction(margin)) / 100
    billed = billed_nano_usd(cost, margin)
    if exact > MOST_NANO_USD:
        assert billed == MOST_NANO_USD
    else:
        assert 0 <= billed - exact < 1


def test_a_margin_is_written_without_superfluous_zeros() -> None:
    assert [margin_text(Decimal(text)) for text in ("0", "0.0000", "12.5000", "1000", "1E+2")] == [
        "0",
        "0",
        "12.5",
        "1000",
        "100",
    ]


@pytest.mark.parametrize(
    ("usage", "produced", "complete", "cost", "owed", "estimated"),
    [
        (Usage(7, 5), 99, True, 17_000, 17_000, False),  # the provider's word
        (Usage(None, 5), 99, True, 10_000, 10_000, False),
        (Usage(), 4, True, None, 17_000, True),  # it told none: 9 by the estimate, 4 seen
        (Usage(), 4, False, None, 17_000, True),
        (Usage(7, 1), 6, False, 9_000, 19_000, True),  # a count from the beginning of a stream that broke off
        (Usage(7, 5), 1, False, 17_000, 17_000, True),
        (Usage(), 4_000, False, None, 100_000, True),  # never more than the estimate
        (Usage(200, 0), 4, False, 200_000, 200_000, True),  # but what the provider told is owed
    ],
)
def test_what_is_owed(
    usage: Usage, produced: int, complete: bool, cost: int | None, owed: int, estimated: bool
) -> None:
    found = bill(Charge(candidate(), usage, produced, complete), 9, Decimal(0))
    assert (found.cost_nano_usd, found.billed_nano_usd, found.estimated) == (cost, owed, estimated)
    assert found.used.billed_nano == owed


def test_nothing_is_owed_where_nobody_charges_or_no_price_is_known() -> None:
    nobody = bill(None, 9, Decimal(20))
    assert (nobody.billed_nano_usd, nobody.used.tokens_in, nobody.used.billed_nano) == (None, 0, 0)
    unpriced = bill(Charge(candidate(None), Usage(7, 5), 0, True), 9, Decimal(20))
    assert (unpriced.cost_nano_usd, unpriced.billed_nano_usd, unpriced.estimated) == (None, None, False)
    assert (unpriced.used.tokens_in, unpriced.used.tokens_out) == (7, 5)


def test_events_count_by_their_size() -> None:
    assert [event_tokens(size) for size in (1, 256, 259, 556)] == [1, 1, 2, 101]


def test_an_answer_is_billed_with_the_margin() -> None:
    run = Run(priced(stream=False, margin="12.5"))
    run.head(headers=JSON_TYPE)
    run.body(COMPLETION, end=True)
    assert run.facts is not None
    assert (run.facts.cost_nano_usd, run.facts.billed_nano_usd) == (17_000, 19_125)
    assert (run.facts.margin_percent, run.facts.estimated, run.facts.key) == ("12.5", False, "t-1")
    assert run.exchange.used.billed_nano == 19_125


def test_a_client_that_leaves_a_stream_pays_for_what_came() -> None:
    """Two events with content and a prompt of which nothing is known here but the estimate, 0."""
    run = Run(priced(stream=True))
    run.head(headers=SSE)
    run.body(ROLE, TEXT, TEXT)
    run.exchange.ended = run.exchange.client_gone = True
    facts = run.attempt.gone(at(3))
    assert facts is not None
    assert (facts.result, facts.billed_nano_usd, facts.estimated) == (Result.TRUNCATED, 4_000, True)
    assert facts.cost_nano_usd is None
    assert facts.price_source == "configured"


def test_a_client_that_leaves_a_stream_pays_for_the_time_before_it_too() -> None:
    """A model that thinks in secret has worked by then, which only the end of its stream would tell."""
    run = Run(priced(stream=True))
    run.head(headers=SSE)
    run.body(ROLE, TEXT, TEXT, seconds=0.2)
    run.exchange.ended = run.exchange.client_gone = True
    facts = run.attempt.gone(at(3))
    assert facts is not None
    assert (facts.result, facts.billed_nano_usd) == (Result.TRUNCATED, 4_000 + 40_000)


def test_a_stream_that_its_provider_breaks_off_is_paid_for_as_it_came() -> None:
    run = Run(priced(stream=True))
    run.head(headers=SSE)
    run.body(ROLE, TEXT, TEXT, seconds=0.2)
    facts = run.attempt.gone(at(3))
    assert facts is not None
    assert (facts.result, facts.billed_nano_usd) == (Result.TRUNCATED, 4_000)


def test_a_client_that_leaves_before_anything_came_pays_for_the_time() -> None:
    """100 tokens a second, and at most the estimate: the provider was at work."""
    for seconds, owed in ((0.2, 40_000), (20.0, 100_000)):
        run = Run(priced(stream=False))
        run.exchange.ended = run.exchange.client_gone = True
        facts = run.attempt.gone(at(seconds))
        assert facts is not None
        assert (facts.result, facts.provider, facts.billed_nano_usd) == (Result.FAILED, None, owed)


def test_a_provider_that_fails_is_not_paid_for() -> None:
    run = Run(priced(stream=False))
    run.head(500, JSON_TYPE)
    run.body(b"{}", end=True)
    assert run.walked
    facts = run.exchange.settle(at(1), Result.FAILED, status=502)
    assert facts is not None
    assert (facts.billed_nano_usd, facts.margin_percent, facts.estimated) == (None, None, False)
    assert (run.exchange.used.tokens_in, run.exchange.used.billed_nano) == (0, 0)


def test_a_client_that_leaves_while_nothing_was_sent_owes_nothing() -> None:
    """The credential was still being looked for."""
    made = priced(stream=False)
    assert made.decision is not None
    planned = made.decision.plan[0]
    target = Target(planned.deployment, planned.provider, None, 0.0)
    attempt = Attempt(made, made.decision, planned, target, at(0))
    made.ended = made.client_gone = True
    facts = attempt.gone(at(9))
    assert facts is not None
    assert facts.billed_nano_usd is None
