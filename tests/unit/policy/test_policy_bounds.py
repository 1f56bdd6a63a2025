"""A latency cap as limits of attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.model import Policy, Provider, ProviderKind, Timeouts
from sovereign_ext.policy.bounds import bounded_timeouts, call_limit_ms

OWN = Timeouts(connect_ms=3_000, first_byte_ms=10_000, idle_ms=5_000, total_ms=60_000)


def provider(timeouts: Timeouts = OWN) -> Provider:
    return Provider(id="a", kind=ProviderKind.MOCK, endpoint="http://a.example", timeouts=timeouts)


def test_without_a_cap_nothing_changes() -> None:
    assert bounded_timeouts(Policy(id="p"), provider(), stream=True) is OWN
    assert call_limit_ms(Policy(id="p"), (provider(), provider()), stream=False) == 120_000


def test_a_stream_has_to_begin_in_time_and_may_go_on() -> None:
    """Its first part within the cap, all else as the provider's own limits are."""
    policy = Policy(id="p", latency_cap_ms=2_000)
    found = bounded_timeouts(policy, provider(), stream=True)
    assert (found.connect_ms, found.first_byte_ms, found.idle_ms, found.total_ms) == (
        2_000,
        2_000,
        5_000,
        60_000,
    )
    assert call_limit_ms(policy, (provider(), provider()), stream=True) == 62_000


def test_a_whole_answer_has_to_be_there_in_time() -> None:
    """With all its attempts: a second one has what the first has left."""
    policy = Policy(id="p", latency_cap_ms=2_000)
    second = bounded_timeouts(policy, provider(), stream=False, elapsed_ms=1_500)
    assert (second.connect_ms, second.first_byte_ms, second.total_ms) == (500, 500, 500)
    assert call_limit_ms(policy, (provider(), provider()), stream=False) == 2_000
    assert bounded_timeouts(policy, provider(), stream=False, elapsed_ms=9_000).total_ms == 1


limits = st.integers(1, 100_000)


@given(
    st.builds(Timeouts, connect_ms=limits, first_byte_ms=st.none() | limits, total_ms=limits),
    limits,
    st.integers(0, 200_000),
    st.booleans(),
)
def test_a_cap_only_ever_shortens(timeouts: Timeouts, cap_ms: int, elapsed_ms: int, stream: bool) -> None:
    """And what is left for the first content is never more than the cap leaves."""
    found = bounded_timeouts(
        Policy(id="p", latency_cap_ms=cap_ms), provider(timeouts), stream=stream, elapsed_ms=elapsed_ms
    )
    assert found.connect_ms <= timeouts.connect_ms
    assert found.total_ms <= timeouts.total_ms
    assert found.first_byte_limit_ms(stream=stream) <= timeouts.first_byte_limit_ms(stream=stream)
    assert found.first_byte_limit_ms(stream=stream) <= max(1, cap_ms - elapsed_ms)
    assert found == Timeouts.model_validate(found.model_dump())
