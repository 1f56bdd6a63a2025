"""The limits of an attempt under a policy with a latency cap. Holds no clock: what has passed comes in.

``latency_cap_ms`` bounds the time from the start of a call to its first content: of a whole answer that is the
answer, of a stream its first part. All attempts share it, so each has what its predecessors left. A stream that
has begun may go on as long as its provider's own limits allow.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy, Provider, Timeouts


def bounded_timeouts(policy: Policy, provider: Provider, *, stream: bool, elapsed_ms: int = 0) -> Timeouts:
    """The provider's timeouts, cut to what is left of the cap ``elapsed_ms`` after the call began.

    At least 1 ms each: a cap that is used up ends the attempt at once, with the reason code of a timeout.
    """
    cap_ms, own = policy.latency_cap_ms, provider.timeouts
    if cap_ms is None:
        return own
    left_ms = max(1, cap_ms - elapsed_ms)
    return own.model_copy(
        update={
            "connect_ms": min(own.connect_ms, left_ms),
            "first_byte_ms": min(own.first_byte_limit_ms(stream=stream), left_ms),
            "total_ms": own.total_ms if stream else min(own.total_ms, left_ms),
        }
    )


def call_limit_ms(policy: Policy, providers: tuple[Provider, ...], *, stream: bool) -> int:
    """How long the whole walk over ``providers`` can take: the sum of their limits, or the cap if that is less.

    The cap does not bound a stream that has begun, so a stream's limit is cap plus the longest of them.
    """
    longest = sum(provider.timeouts.total_ms for provider in providers)
    if policy.latency_cap_ms is None:
        return longest
    after = max((provider.timeouts.total_ms for provider in providers), default=0) if stream else 0
    return min(longest, policy.latency_cap_ms + after)
