"""What each Claude takes and what not: data, found by the model's name.

Sources: Anthropic's documentation (models overview, thinking, effort, structured outputs, API version 2026-10-21) as
of November 2026. Names come with prefixes and suffixes (``anthropic/``, ``@20251101``, ``-20250929``), so families are
looked for anywhere in them. What is newer than the list is taken to be like the newest of its family; a model that is
no Claude gets ``UNKNOWN``, which asks for nothing that an older server would not take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Sampling(Enum):
    """Which of ``temperature`` and ``top_p`` a model takes; ``top_k`` goes with any but ``NONE``."""

    BOTH = auto()
    ONE = auto()  # either, not both
    NONE = auto()


class Thinking(Enum):
    """When a model thinks before it answers."""

    ABSENT = auto()
    BUDGET = auto()  # if it is given a number of tokens for it
    ASKED = auto()  # if asked to: ``adaptive``
    USUAL = auto()  # unless switched off
    ALWAYS = auto()  # and so it cannot be forced to call a tool


@dataclass(frozen=True, slots=True)
class ClaudeRules:
    """``max_tokens``: the most it can write, sent where the client sets no limit. ``efforts``: the levels of
    ``output_config.effort``, lowest first. ``schemas``: keeps to JSON schemas by itself. ``prefill``: goes on from an
    assistant's last message."""

    max_tokens: int
    sampling: Sampling
    thinking: Thinking
    efforts: tuple[str, ...] = ()
    schemas: bool = False
    prefill: bool = False


_FOUR: Final = ("low", "medium", "high", "max")
_FIVE: Final = ("low", "medium", "high", "xhigh", "max")

UNKNOWN: Final = ClaudeRules(4_096, Sampling.BOTH, Thinking.ABSENT, prefill=True)
_CLAUDE_3_5: Final = ClaudeRules(8_192, Sampling.BOTH, Thinking.ABSENT, prefill=True)
_OPUS_4: Final = ClaudeRules(32_000, Sampling.BOTH, Thinking.BUDGET, prefill=True)
_SONNET_4: Final = ClaudeRules(64_000, Sampling.BOTH, Thinking.BUDGET, prefill=True)
_OPUS_4_1: Final = ClaudeRules(32_000, Sampling.ONE, Thinking.BUDGET, prefill=True)
_CLAUDE_4_5: Final = ClaudeRules(64_000, Sampling.ONE, Thinking.BUDGET, schemas=True, prefill=True)
_OPUS_4_5: Final = ClaudeRules(64_000, Sampling.ONE, Thinking.BUDGET, _FIVE[:3], schemas=True, prefill=True)
_SONNET_4_6: Final = ClaudeRules(64_000, Sampling.ONE, Thinking.ASKED, _FOUR, schemas=True)
_OPUS_4_6: Final = ClaudeRules(128_000, Sampling.ONE, Thinking.ASKED, _FOUR, schemas=True)
_OPUS_4_7: Final = ClaudeRules(128_000, Sampling.NONE, Thinking.ASKED, _FIVE, schemas=True)
_CLAUDE_5: Final = ClaudeRules(128_000, Sampling.NONE, Thinking.USUAL, _FIVE, schemas=True)
_PREVIEW: Final = ClaudeRules(128_000, Sampling.NONE, Thinking.ALWAYS, _FOUR, schemas=True)
_ALWAYS: Final = ClaudeRules(128_000, Sampling.NONE, Thinking.ALWAYS, _FIVE, schemas=True)

FAMILIES: Final[tuple[tuple[str, ClaudeRules], ...]] = (
    (r"claude-(2|3-(opus|sonnet|haiku)|instant)", UNKNOWN),
    (r"claude-3-5", _CLAUDE_3_5),
    (r"claude-3", _SONNET_4),  # 3.7
    (r"claude-opus-4-1\b", _OPUS_4_1),
    (r"claude-opus-4-5\b", _OPUS_4_5),
    (r"claude-[a-z]+-4-5\b", _CLAUDE_4_5),
    (r"claude-opus-4-6\b", _OPUS_4_6),
    (r"claude-[a-z]+-4-6\b", _SONNET_4_6),
    (r"claude-[a-z]+-4-[7-9]\b", _OPUS_4_7),
    (r"claude-(opus-4|4-opus)", _OPUS_4),
    (r"claude-([a-z]+-4|4-[a-z]+)", _SONNET_4),
    (r"claude-mythos-preview", _PREVIEW),
    (r"claude-opus-5(?!-\d{1,2}\b)", _CLAUDE_5),
    (r"claude-(opus|fable|mythos)", _ALWAYS),
    (r"claude-", _CLAUDE_5),
)
"""By regular expression, the first that is found in the name."""

_COMPILED: Final = tuple((re.compile(pattern), rules) for pattern, rules in FAMILIES)

BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 31_999,
}  # fmt: skip
"""Tokens to think with, for models that are told a number instead of an effort."""

MIN_BUDGET: Final = 1_024


def rules_of(model: str) -> ClaudeRules:
    """The rules of a model by the name that the provider knows it by."""
    return next((rules for pattern, rules in _COMPILED if pattern.search(model)), UNKNOWN)


def nearest(effort: str, efforts: tuple[str, ...]) -> str:
    """The level to ask for where the model may lack the one that was asked for: the highest that is not above it."""
    wanted = _FIVE.index("low" if effort in ("none", "minimal") else effort)
    return next(level for level in reversed(_FIVE[: wanted + 1]) if level in efforts)
