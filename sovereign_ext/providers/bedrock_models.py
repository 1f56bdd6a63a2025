"""What models on Bedrock take and what not: data, found by the model's id.

Sources: Bedrock user guide (model cards, "Get validated JSON results from models", inference parameters) and
botocore's service model. An id may carry a prefix of an inference profile (``eu.``, ``global.``) or be an ARN, so
families are looked for anywhere in it. Claude's rules are ``anthropic_models``'s. An ARN that does not name its model
gets ``UNKNOWN``, and what the model then refuses is the provider's answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from sovereign_ext.providers import anthropic_models
from sovereign_ext.providers.anthropic_models import Sampling, Thinking


class Effort(Enum):
    """How a model is told how much to reason."""

    CONVERSE = auto()  # outputConfig.effort
    CLAUDE = auto()  # the same, by the model's own levels; thinking can be switched off
    NOVA = auto()  # reasoningConfig.maxReasoningEffort; ``high`` goes with no sampling and no limit
    FLAT = auto()  # reasoning_effort among the model's own fields
    NESTED = auto()  # reasoning.effort among the model's own fields
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class ModelRules:
    """``efforts``: the levels of ``Effort.CLAUDE``, lowest first. ``schemas``: keeps to JSON schemas by itself
    (``textFormat``, strict tools). ``forces``: ``toolChoice`` any and tool. ``thinks``: unless switched off, which it
    must be where a tool is forced. ``prefill``: goes on from an assistant's last message. ``caches``: takes cache
    points. ``top_k``: where it goes among the model's own fields, empty where it is not taken."""

    sampling: Sampling = Sampling.BOTH
    effort: Effort = Effort.CONVERSE
    efforts: tuple[str, ...] = ()
    schemas: bool = False
    forces: bool = True
    thinks: bool = False
    prefill: bool = True
    caches: bool = False
    top_k: tuple[str, ...] = ()


UNKNOWN: Final = ModelRules()

_NOVA: Final = ModelRules(effort=Effort.ABSENT, caches=True, top_k=("inferenceConfig", "topK"))
_NOVA_2: Final = ModelRules(effort=Effort.NOVA, caches=True, top_k=("inferenceConfig", "topK"))
_OPEN: Final = ModelRules(effort=Effort.ABSENT, schemas=True)
_PLAIN: Final = ModelRules(effort=Effort.ABSENT, forces=False)

FAMILIES: Final[tuple[tuple[str, ModelRules], ...]] = (
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


@lru_cache(maxsize=256)
def rules_of(model: str) -> ModelRules:
    """The rules of a model id or ARN as the provider knows it."""
    if "anthropic.claude" in model:
        return _of_claude(model)
    return next((rules for pattern, rules in _COMPILED if pattern.search(model)), UNKNOWN)


def _of_claude(model: str) -> ModelRules:
    """What Anthropic says of its models holds at Bedrock too; only how it is said differs. The older ones' budgets of
    thinking are not asked for."""
    rules = anthropic_models.rules_of(model)
    return ModelRules(
        sampling=rules.sampling,
        effort=Effort.CLAUDE if rules.efforts else Effort.ABSENT,
        efforts=rules.efforts,
        schemas=rules.schemas,
        forces=rules.thinking is not Thinking.ALWAYS,
        thinks=rules.thinking is Thinking.USUAL,
        prefill=rules.prefill,
        caches=True,
        top_k=() if rules.sampling is Sampling.NONE else ("top_k",),
    )


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
