"""What a request may cost and what an answer did, in billionths of a US dollar. Integer arithmetic, rounded up.

Prices are the deployment's: dollars for a million tokens, input and output, perhaps other ones for input that is read
from a cache or written to one. What a cache will hold is not known before, so the estimate takes the dearest of them
for all input. Discounts for batches and other charges are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sovereign_ext.config.model import Capability, Deployment, Model
from sovereign_ext.config.trust import Price
from sovereign_ext.policy.rules.base import RequestFacts

UNBOUNDED_TOKENS: Final = 16_384
"""What one choice is taken to generate where neither the caller nor the model's context window bounds it."""

MOST_NANO_USD: Final = (1 << 53) - 1
"""About 9 million dollars; more is not told apart, so that a cost is always a whole number of JSON (RFC 8259)."""

_PER_PRICE: Final = 1_000_000
"""Tokens that a price is for; also what a millionth of a margin is a part of."""


def window_of(deployment: Deployment, model: Model) -> int | None:
    """Tokens that the model takes there: what the deployment says, else the model."""
    return model.context_window if deployment.context_window is None else deployment.context_window


def output_tokens(window: int | None, request: RequestFacts) -> int:
    """The most that can be generated, for all choices together.

    The caller's bound; without one, what the context ``window`` leaves beside the prompt; without that
    ``UNBOUNDED_TOKENS``. Embeddings generate nothing.
    """
    if request.capability is Capability.EMBEDDINGS:
        return 0
    if request.max_tokens is not None:
        return request.max_tokens
    if window is None:
        return UNBOUNDED_TOKENS * request.choices
    return max(0, window - request.prompt_tokens) * request.choices


def estimate_nano_usd(price: Price | None, window: int | None, request: RequestFacts) -> int | None:
    """The most that ``request`` can be expected to cost; ``None`` without a price. ``window`` is that of
    ``window_of``."""
    if price is None:
        return None
    dearest = max(price.input_nano_usd, price.cached_input_nano_usd, price.cache_write_nano_usd)
    return _rounded(request.prompt_tokens * dearest + output_tokens(window, request) * price.output_nano_usd)


def cost_nano_usd(
    price: Price | Terms | None,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    *,
    cached_tokens: int | None = None,
    cache_write_tokens: int | None = None,
) -> int | None:
    """What an answer with that usage cost; ``None`` without a price or where the provider told no usage.

    One count alone is taken with 0 for the other: embeddings have no completion tokens. ``cached_tokens`` and
    ``cache_write_tokens`` are disjoint parts of ``prompt_tokens`` and cost what the price says of them.
    """
    if price is None or (prompt_tokens is None and completion_tokens is None):
        return None
    cached, written = cached_tokens or 0, cache_write_tokens or 0
    return _rounded(
        ((prompt_tokens or 0) - cached - written) * price.input_nano_usd
        + cached * price.cached_input_nano_usd
        + written * price.cache_write_nano_usd
        + (completion_tokens or 0) * price.output_nano_usd
    )


def billed_nano_usd(cost: int, margin_percent: Decimal) -> int:
    """``cost`` billionths of a dollar and ``margin_percent`` (at most 4 decimals) on top, rounded up."""
    return _rounded(cost * (_PER_PRICE + int(margin_percent.scaleb(4))))


@dataclass(frozen=True, slots=True)
class Terms:
    """A price as entries say it (``price_terms``): billionths of a dollar for a million tokens."""

    input_nano_usd: int
    output_nano_usd: int
    cached_input_nano_usd: int
    cache_write_nano_usd: int


def price_terms(price: Price) -> dict[str, int]:
    """A price as entries say it: billionths of a dollar for a million tokens of each kind."""
    return {
        "input": price.input_nano_usd,
        "output": price.output_nano_usd,
        "cached_input": price.cached_input_nano_usd,
        "cache_write": price.cache_write_nano_usd,
    }


def usd_text(nano_usd: int) -> str:
    """``nano_usd`` as dollars, exact, without superfluous zeros: 1_500_000 is ``0.0015``."""
    whole, rest = divmod(nano_usd, 1_000_000_000)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _rounded(millionths: int) -> int:
    """Tokens times nano-dollars for a million of them, as nano-dollars: up to the next whole one."""
    return min(-(-millionths // _PER_PRICE), MOST_NANO_USD)
