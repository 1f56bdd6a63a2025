"""What a tenant owes for a call: by the provider's own count where there is one, else by ours.

The provider's count is the truth. It is not to be had where an answer broke off, or where the provider tells none;
then the prompt is as ``openai.tokens`` estimates it, and the output what could be seen of it (``Attempt``), never
more than the estimate that the decision was made with. Whoever failed to answer is not paid for by the tenant.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from sovereign_ext.openai.tokens import BYTES_PER_TOKEN
from sovereign_ext.policy.cost import billed_nano_usd, cost_nano_usd
from sovereign_ext.policy.rules.base import Candidate
from sovereign_ext.providers.base import Usage
from sovereign_ext.tenants.ledger import Used

UNSEEN_TOKENS_PER_S: Final = 100
"""How fast each choice is taken to be generated while nothing of it can be seen."""

_EVENT_BYTES: Final = 256
"""What an event of a stream takes besides its text, at most."""


class Charge(msgspec.Struct, frozen=True):
    """Who charges for the call, and what for.

    ``produced`` is our own count of output tokens; ``complete`` says that the provider's, if there is one, is final.
    """

    by: Candidate
    usage: Usage
    produced: int
    complete: bool


class Bill(msgspec.Struct, frozen=True):
    """What stands in the entry (billionths of a US dollar; ``None``: no price, or nobody charges), and what the ledger
    settles with."""

    used: Used
    cost_nano_usd: int | None = None
    billed_nano_usd: int | None = None
    estimated: bool = False


NOTHING: Final = Bill(Used(0, 0, 0))
"""For a call that nobody answered."""


def bill(charge: Charge | None, prompt_tokens: int, margin_percent: Decimal) -> Bill:
    """What is owed for a call whose prompt has ``prompt_tokens`` by our estimate."""
    if charge is None:
        return NOTHING
    usage, price = charge.usage, charge.by.deployment.price
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    cost = cost_nano_usd(
        price, usage.prompt_tokens, usage.completion_tokens, cached_tokens=cached, cache_write_tokens=written
    )
    told = usage.prompt_tokens is not None or usage.completion_tokens is not None
    if charge.complete and told:
        owed = None if cost is None else billed_nano_usd(cost, margin_percent)
        return Bill(Used(usage.prompt_tokens, usage.completion_tokens or 0, owed), cost, owed)
    tokens_in = prompt_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    tokens_out = max(charge.produced, usage.completion_tokens or 0)
    spent = cost_nano_usd(price, tokens_in, tokens_out, cached_tokens=cached, cache_write_tokens=written)
    if spent is None:
        return Bill(Used(tokens_in, tokens_out, None))
    if charge.by.cost_nano_usd is not None:
        spent = max(min(spent, charge.by.cost_nano_usd), cost or 0)
    owed = billed_nano_usd(spent, margin_percent)
    return Bill(Used(tokens_in, tokens_out, owed), cost, owed, estimated=True)


def event_tokens(size: int) -> int:
    """The tokens of an event of a stream with content: one, and one for every 3 bytes beyond what an event takes."""
    return 1 + max(0, size - _EVENT_BYTES) // BYTES_PER_TOKEN


def unseen_tokens(seconds: float, choices: int) -> int:
    """What may have been generated in that time."""
    return int(seconds * UNSEEN_TOKENS_PER_S) * choices


def margin_text(margin_percent: Decimal) -> str:
    """As entries say it: ``"12.5"``, without superfluous zeros."""
    return f"{margin_percent.normalize():f}"
