"""What Google's models differ in, as data: thinking, schemas, call ids, signatures, sizes of embeddings.

Sources: Vertex AI model pages and "Thinking" (2026), google-genai 3.4. A model is known by the beginning of its name;
one that is not, a tuned model's endpoint included, is taken for one of the newest generation.
Deliberately not here: context windows and prices, which are the configuration's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sovereign_ext.openai.parameters import EFFORTS


@dataclass(frozen=True, slots=True)
class Levels:
    """Thinking by level, least first. ``none`` of it cannot be had: the least level stands for that."""

    names: tuple[str, ...]

    def config(self, effort: str) -> Mapping[str, Any]:
        """``thinkingConfig`` of one of OpenAI's efforts: the least level that is not less, else the highest."""
        wanted = EFFORTS.index(effort)
        enough = (name for name in self.names if EFFORTS.index(name.lower()) >= wanted)
        return {"thinkingLevel": next(enough, self.names[-1])}


@dataclass(frozen=True, slots=True)
class Budgets:
    """Thinking by tokens, as models of generation 2.5 take it. ``least`` is 0 where it can be switched off."""

    least: int
    low: int
    most: int

    def config(self, effort: str) -> Mapping[str, Any]:
        """``thinkingConfig`` of one of OpenAI's efforts, in the sizes of Google's own OpenAI endpoint."""
        sizes = {"none": self.least, "minimal": self.low, "low": self.low, "medium": 8192, "high": 24576}
        return {"thinkingBudget": min(sizes.get(effort, self.most), self.most)}


@dataclass(frozen=True, slots=True)
class Model:
    """What a model of Google takes.

    ``thinking`` is ``None`` where it does not think. ``json_schema`` tells JSON Schema from the older OpenAPI subset,
    ``format_with_tools`` whether structured output and tools go together. Models that ``sign`` refuse a function call
    of the history without the signature that they gave it; those take calls' ids and results with media, too.
    """

    thinking: Levels | Budgets | None
    json_schema: bool = True
    format_with_tools: bool = True
    signs: bool = True


_ALL_LEVELS: Final = Levels(("MINIMAL", "LOW", "MEDIUM", "HIGH"))
_THREE_LEVELS: Final = Levels(("LOW", "MEDIUM", "HIGH"))
_NEWEST: Final = Model(_THREE_LEVELS)
_OLD: Final = Model(None, json_schema=False, format_with_tools=False, signs=False)

_MODELS: Final[tuple[tuple[str, Model], ...]] = (
    ("gemini-3-pro", Model(Levels(("LOW", "HIGH")))),
    ("gemini-3-flash", Model(_ALL_LEVELS)),
    ("gemini-3.1-flash", Model(_ALL_LEVELS)),
    ("gemini-3.5-flash", Model(_ALL_LEVELS)),
    ("gemini-2.5-pro", Model(Budgets(128, 1024, 32768), format_with_tools=False, signs=False)),
    ("gemini-2.5", Model(Budgets(0, 1024, 24576), format_with_tools=False, signs=False)),
    ("gemini-2.0", _OLD),
    ("gemini-1", _OLD),
    ("gemini-pro", _OLD),
)
"""By the beginning of the name; the first that fits holds."""

MAX_STOPS: Final = 5
MAX_CANDIDATES: Final = 8

MAX_INSTANCES: Final = 250
"""Texts that one call may embed."""


def model_of(name: str) -> Model:
    """What is known of a model by its name, without publisher."""
    return next((model for start, model in _MODELS if name.startswith(start)), _NEWEST)


def embeds_content(name: str) -> bool:
    """Whether a model embeds by ``:embedContent`` and its batch, not by ``:predict``."""
    return "gemini" in name
