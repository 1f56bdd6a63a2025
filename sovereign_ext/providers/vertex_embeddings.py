"""Embeddings on Vertex AI: ``:predict``, and ``:embedContent`` or ``:batchEmbedContents`` of the Gemini models.

As at OpenAI, a text that is too long is an error and not cut without a word, which is Google's default.
Source: google-genai 3.4, which asks every model with ``gemini`` in its name by content and all others by instance.
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._vectors import dimensions_of, embeddings, texts_of
from sovereign_ext.providers.base import Answer, StreamFault
from sovereign_ext.providers.vertex_models import MAX_INSTANCES, embeds_content


def embed_call(request: Request, upstream_model: str) -> tuple[str, dict[str, Any]]:
    """The method to call and its body. Raises ``CallerError``."""
    texts, size = texts_of(request), dimensions_of(request)
    if len(texts) > MAX_INSTANCES:
        raise CallerError(
            400, f"This model's provider embeds at most {MAX_INSTANCES} texts at a time.",
            param="input", code="unsupported_value",
        )  # fmt: skip
    options: dict[str, Any] = {"autoTruncate": False} | (
        {} if size is None else {"outputDimensionality": size}
    )
    if not embeds_content(upstream_model):
        return "predict", {"instances": [{"content": text} for text in texts], "parameters": options}
    asked = [
        {"content": {"role": "user", "parts": [{"text": text}]}, "embedContentConfig": options}
        for text in texts
    ]
    return ("embedContent", asked[0]) if len(asked) == 1 else ("batchEmbedContents", {"requests": asked})


def embed_answer(request: Request, parsed: dict[str, Any]) -> Answer:
    """The vectors in OpenAI's shape. Raises ``StreamFault`` if there are not as many as texts."""
    given = request.values["input"]
    found = _found(parsed)
    if len(found) != (1 if isinstance(given, str) else len(given)):
        raise StreamFault(_shared.unusable("invalid_answer"))
    metadata = parsed.get("usageMetadata")
    whole = _shared.count(metadata.get("promptTokenCount")) if isinstance(metadata, dict) else None
    counted = [count for each in found if (count := _tokens(each)) is not None]
    tokens = whole if whole is not None else sum(counted) if counted else None
    return embeddings(request, [each.get("values") for each in found], tokens)


def _found(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    """The embeddings, whichever method gave them; what is none is left out."""
    if "predictions" in parsed:
        listed = parsed["predictions"]
        found = [each.get("embeddings") if isinstance(each, dict) else None for each in _list(listed)]
    elif "embeddings" in parsed:
        found = _list(parsed["embeddings"])
    else:
        found = [parsed.get("embedding")]
    return [each for each in found if isinstance(each, dict)]


def _tokens(embedding: dict[str, Any]) -> int | None:
    """``statistics.token_count`` of one embedding, as ``:predict`` spells it, or ``tokenCount``."""
    statistics = embedding.get("statistics")
    if not isinstance(statistics, dict):
        return None
    value = statistics.get("token_count", statistics.get("tokenCount"))
    if isinstance(value, float) and value.is_integer():  # a protobuf Value has no integers: 7 may come as 7.0
        value = int(value)
    return _shared.count(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
