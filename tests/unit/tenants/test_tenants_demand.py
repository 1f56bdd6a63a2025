"""What a call draws on, by the limits of its tenant and key; calendar windows against the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.tenancy import Allowance, Per, RateLimit, SpendCap, SpendWindow
from sovereign_ext.tenants.demand import UNBOUNDED_TOKENS, Ask, demand_of, has_cap, window
from sovereign_ext.tenants.ledger import Draw, Measure, Reserve, Scope, Slot

NONE = Allowance()
NOON = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)  # a Wednesday


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def ask(model: str = "m", tokens_out: int | None = 40, choices: int = 1, estimate: int | None = 900) -> Ask:
    return Ask("dec-1", model, 25, tokens_out, choices, estimate, ms(NOON), ms(NOON) + 60_000, False)


def test_without_limits_nothing_is_asked_for() -> None:
    assert demand_of("t", "k", (NONE, NONE), ask(estimate=None)) is None
    only = Allowance(limits=(RateLimit(per=Per.MINUTE, requests=1, model="another"),))
    assert demand_of("t", "k", (only, NONE), ask()) is None


def test_limits_of_tenant_and_key_hold_for_all_models_and_for_the_one_named() -> None:
    tenant = Allowance(
        limits=(
            RateLimit(per=Per.MINUTE, requests=5, tokens_in=100, tokens_out=50, concurrent=3),
            RateLimit(per=Per.DAY, requests=50, concurrent=2),
            RateLimit(per=Per.SECOND, requests=2, model="m"),
            RateLimit(per=Per.SECOND, requests=1, model="n"),
        ),
        spend_caps=(SpendCap(usd=Decimal("1.5"), per=SpendWindow.DAY),),
    )
    key = Allowance(
        limits=(RateLimit(concurrent=1, model="m"),),
        spend_caps=(SpendCap(usd=Decimal(9), per=SpendWindow.TOTAL),),
    )
    demand = demand_of("t", "k", (tenant, key), ask())
    assert demand is not None
    assert demand.draws == (
        Draw(Scope("t"), Measure.REQUESTS, 5, 60, 1),
        Draw(Scope("t"), Measure.TOKENS_IN, 100, 60, 25),
        Draw(Scope("t"), Measure.TOKENS_OUT, 50, 60, 40),
        Draw(Scope("t"), Measure.REQUESTS, 50, 86_400, 1),
        Draw(Scope("t", "", "m"), Measure.REQUESTS, 2, 1, 1),
    )
    assert demand.slots == (Slot(Scope("t"), 2), Slot(Scope("t", "k", "m"), 1))
    day = ms(NOON.replace(hour=0, minute=0))
    assert demand.reserves == (
        Reserve(Scope("t"), "day", day, day + 86_400_000, 1_500_000_000, 900),
        Reserve(Scope("t", "k"), "total", 0, 0, 9_000_000_000, 900),
    )
    assert (demand.call, demand.tenant, demand.key) == ("dec-1", "t", "k")


def test_an_answer_without_a_bound_draws_a_stated_amount() -> None:
    """So much for each choice, and never more than the bucket holds; a bound is drawn as it is."""

    def drawn(capacity: int, tokens_out: int | None, choices: int) -> int:
        limited = Allowance(limits=(RateLimit(per=Per.MINUTE, tokens_out=capacity),))
        demand = demand_of("t", "k", (limited, NONE), ask(tokens_out=tokens_out, choices=choices))
        assert demand is not None
        return demand.draws[0].amount

    assert drawn(10_000, None, 1) == UNBOUNDED_TOKENS
    assert drawn(10_000, None, 3) == 3 * UNBOUNDED_TOKENS
    assert drawn(100, None, 3) == 100
    assert drawn(100, 5_000, 3) == 5_000
    assert drawn(100, 0, 1) == 0


def test_a_cap_takes_an_estimate() -> None:
    capped = Allowance(spend_caps=(SpendCap(usd=Decimal(1)),))
    assert has_cap((NONE, capped))
    assert not has_cap((NONE, NONE))
    with pytest.raises(ValueError, match="estimate"):
        demand_of("t", "k", (NONE, capped), ask(estimate=None))


_SINCE, _UNTIL = datetime(1970, 1, 5), datetime(9000, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone


@given(st.datetimes(_SINCE, _UNTIL, timezones=st.just(UTC)))
def test_windows_are_those_of_the_calendar(moment: datetime) -> None:
    at = int(moment.timestamp() * 1000)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    week = day - timedelta(days=day.weekday())
    month = day.replace(day=1)
    after = (month + timedelta(days=32)).replace(day=1)
    assert window(SpendWindow.HOUR, at) == (ms(hour), ms(hour + timedelta(hours=1)))
    assert window(SpendWindow.DAY, at) == (ms(day), ms(day + timedelta(days=1)))
    assert window(SpendWindow.WEEK, at) == (ms(week), ms(week + timedelta(days=7)))
    assert window(SpendWindow.MONTH, at) == (ms(month), ms(after))
    assert window(SpendWindow.TOTAL, at) == (0, 0)
