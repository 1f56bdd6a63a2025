"""Vertex AI embeddings.

``:predict`` of the text-embedding models, ``:embedContent`` and ``:batchEmbedContents`` of the Gemini ones.
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import texts, tokens_of
from sovereign_ext.mock.content import unit_vector
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import Reply, json_reply
from sovereign_ext.mock.wires.base import objects, optional_int, required, schema_of

_PREDICT_SIZE = 768
_GEMINI_SIZE = 3072
_MAX_INSTANCES = 250

Headers = tuple[tuple[str, str], ...]


def predict(body: dict[str, Any], shape: Shape, headers: Headers) -> Reply:
    """One prediction per instance. Raises ``CallerError`` (400)."""
    instances = objects(required(body, "instances", list))
    if not 1 <= len(instances) <= _MAX_INSTANCES:
        raise CallerError(400, f"{len(instances)} instance(s) is not within 1 to {_MAX_INSTANCES}.")
    size = _size(optional_int(schema_of(body.get("parameters")), "outputDimensionality"), _PREDICT_SIZE)
    given = [str(required(one, "content", str)) for one in instances]
    predictions = []
    for text in given:
        statistics = {"truncated": False, "token_count": tokens_of([text])} | (shape.usage or {})
        entry: dict[str, Any] = {"values": unit_vector(text, size)}
        if not shape.omit_usage:
            entry["statistics"] = statistics
        predictions.append({"embeddings": entry})
    billed = {"billableCharacterCount": sum(map(len, given))}
    return json_reply({"predictions": predictions, "metadata": billed}, headers)


def embed_content(body: dict[str, Any], shape: Shape, headers: Headers) -> Reply:
    """One embedding of one content. Raises ``CallerError`` (400)."""
    embedding, said = _embedded(body)
    return json_reply({"embedding": embedding, **_counted(said, shape), "truncated": False}, headers)


def batch_embed_contents(body: dict[str, Any], shape: Shape, headers: Headers) -> Reply:
    """One embedding per request. Raises ``CallerError`` (400)."""
    requests = objects(required(body, "requests", list))
    if not 1 <= len(requests) <= _MAX_INSTANCES:
        raise CallerError(400, f"{len(requests)} request(s) is not within 1 to {_MAX_INSTANCES}.")
    found = [_embedded(one) for one in requests]
    said = [text for _, texts_ in found for text in texts_]
    return json_reply({"embeddings": [each for each, _ in found], **_counted(said, shape)}, headers)


def _embedded(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The embedding of one content, and its texts."""
    said = texts(schema_of(required(body, "content", dict)).get("parts"))
    if not said:
        raise CallerError(400, "content contains no text parts")
    config = schema_of(body.get("embedContentConfig"))
    wanted = optional_int(config, "outputDimensionality") or optional_int(body, "outputDimensionality")
    return {"values": unit_vector("".join(said), _size(wanted, _GEMINI_SIZE))}, said


def _counted(said: list[str], shape: Shape) -> dict[str, Any]:
    if shape.omit_usage:
        return {}
    return {"usageMetadata": {"promptTokenCount": tokens_of(said)} | (shape.usage or {})}


def _size(wanted: int | None, largest: int) -> int:
    if wanted is not None and wanted > largest:
        raise CallerError(400, f"outputDimensionality {wanted} is more than {largest}.")
    return wanted or largest
