"""What models on Bedrock take and what not: data, found by the model's id.

Sources: Bedrock user guide (model cards, "Get validated JSON results from models", inference parameters) and
botocore's service model. An id may carry a prefix of an inference profile (``eu.``, ``global.``) or be an ARN, so
families are looked for anywhere in it; an ARN that does not name its model gets ``UNKNOWN``, and what the model then
refuses is the provider's answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Sampling(Enum):
    """Which of ``temperature`` and ``top_p`` a model takes."""

    BOTH = auto()
    ONE = auto()  # either, not both
    NONE = auto()


class Effort(Enum):
    """How a model is told how much to reason."""

    CONVERSE = auto()  # outputConfig.effort
    CLAUDE = auto()  # the same; thinking can be switched off
    NOVA = auto()  # reasoningConfig.maxReasoningEffort; ``high`` goes with no sampling and no limit
    FLAT = auto()  # reasoning_effort among the model's own fields
    NESTED = auto()  # reasoning.effort among the model's own fields
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class ModelRules:
    """``schemas``: keeps to JSON schemas by itself (``textFormat``, strict tools). ``forces``: ``toolChoice`` any and
    tool. ``caches``: takes cache points. ``top_k``: where it goes among the model's own fields."""

    sampling: Sampling = Sampling.BOTH
    effort: Effort = Effort.CONVERSE
    schemas: bool = False
    forces: bool = True
    caches: bool = False
    top_k: tuple[str, ...] = ()


UNKNOWN: Final = ModelRules()

_CLAUDE: Final = ModelRules(effort=Effort.ABSENT, caches=True, top_k=("top_k",))
_CLAUDE_4_1: Final = ModelRules(Sampling.ONE, Effort.ABSENT, caches=True, top_k=("top_k",))
_CLAUDE_4_5: Final = ModelRules(Sampling.ONE, Effort.ABSENT, schemas=True, caches=True, top_k=("top_k",))
_CLAUDE_OPUS_4_5: Final = ModelRules(Sampling.ONE, Effort.CLAUDE, schemas=True, caches=True, top_k=("top_k",))
_CLAUDE_4_7: Final = ModelRules(Sampling.NONE, Effort.CLAUDE, schemas=True, caches=True)
_NOVA: Final = ModelRules(effort=Effort.ABSENT, caches=True, top_k=("inferenceConfig", "topK"))
_NOVA_2: Final = ModelRules(effort=Effort.NOVA, caches=True, top_k=("inferenceConfig", "topK"))
_OPEN: Final = ModelRules(effort=Effort.ABSENT, schemas=True)
_PLAIN: Final = ModelRules(effort=Effort.ABSENT, forces=False)

FAMILIES: Final[tuple[tuple[str, ModelRules], ...]] = (
    (r"anthropic\.claude-(opus|sonnet)-4-(20|v1)", _CLAUDE),
    (r"anthropic\.claude-opus-4-1\b", _CLAUDE_4_1),
    (r"anthropic\.claude-(sonnet|haiku)-4-5\b", _CLAUDE_4_5),
    (r"anthropic\.claude-[a-z]+-4-[56]\b", _CLAUDE_OPUS_4_5),
    (r"anthropic\.claude-(3|v2|instant)", _CLAUDE),
    (r"anthropic\.claude", _CLAUDE_4_7),
    (r"amazon\.nova-2", _NOVA_2),
    (r"amazon\.nova", _NOVA),
    (r"openai\.gpt-oss", ModelRules(effort=Effort.FLAT, schemas=True)),
    (r"openai\.", ModelRules(effort=Effort.NESTED, schemas=True)),
    (r"moonshot[a-z]*\.kimi", ModelRules(effort=Effort.FLAT, schemas=True)),
    (r"(qwen\.qwen3|deepseek\.v3|google\.gemma-3|minimax\.|nvidia\.nemotron)", _OPEN),
    (r"mistral\.(ministral-3|magistral|mistral-large-3|voxtral)", _OPEN),
    (r"mistral\.mistral-large", ModelRules(effort=Effort.ABSENT)),
    (r"(amazon\.titan|ai21\.|cohere\.command|meta\.llama|mistral\.|deepseek\.r1)", _PLAIN),
)
"""By regular expression, the first that is found in the id. What is newer than the list is taken to be like the newest
of its family."""

_COMPILED: Final = tuple((re.compile(pattern), rules) for pattern, rules in FAMILIES)


def rules_of(model: str) -> ModelRules:
    """The rules of a model id or ARN as the provider knows it."""
    return next((rules for pattern, rules in _COMPILED if pattern.search(model)), UNKNOWN)


NOVA_EFFORTS: Final[Mapping[str, str]] = {
    "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
FLAT_EFFORTS: Final[Mapping[str, str]] = NOVA_EFFORTS
"""The three levels of open-weight models; ``none`` is not among them."""


@dataclass(frozen=True, slots=True)
class EmbeddingRules:
    """How ``InvokeModel`` embeds. ``many`` is the most texts of one call, ``dimensions`` the member that sets the
    size of vectors, empty where it is fixed."""

    cohere: bool
    many: int
    dimensions: str


EMBEDDINGS: Final[tuple[tuple[str, EmbeddingRules], ...]] = (
    ("amazon.titan-embed-text-v2", EmbeddingRules(cohere=False, many=1, dimensions="dimensions")),
    ("amazon.titan-embed-", EmbeddingRules(cohere=False, many=1, dimensions="")),
    ("cohere.embed-v4", EmbeddingRules(cohere=True, many=96, dimensions="output_dimension")),
    ("cohere.embed-", EmbeddingRules(cohere=True, many=96, dimensions="")),
)
"""By text in the id, the first that is found."""


def embedding_rules_of(model: str) -> EmbeddingRules | None:
    """How a model embeds; ``None`` if it is not known to."""
    return next((rules for name, rules in EMBEDDINGS if name in model), None)
