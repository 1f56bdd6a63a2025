"""Bedrock ``invoke`` bodies of embedding models.

Amazon Titan (one text) and Cohere (texts, by embedding type).
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import tokens_of
from sovereign_ext.mock.content import unit_vector
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import Call, Reply, json_reply
from sovereign_ext.mock.wires.base import optional_int, required, strings

_TITAN_SIZES = (256, 512, 1024)
_COHERE_SIZE = 1024


def invoke(call: Call, shape: Shape, headers: tuple[tuple[str, str], ...]) -> Reply:
    """Answer by the model's maker. Raises ``CallerError`` for models that do not embed."""
    if "titan-embed" in call.model:
        reply, tokens = _titan(call.body)
    elif "cohere.embed" in call.model:
        reply, tokens = _cohere(call.body)
    else:
        raise CallerError(400, "The mock answers invoke for Titan and Cohere embedding models; use converse.")
    if shape.omit_usage:
        return json_reply(reply, headers)
    counted = str((shape.usage or {}).get("inputTokens", tokens))
    return json_reply(reply, (*headers, ("x-amzn-bedrock-input-token-count", counted)))


def _titan(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    text = required(body, "inputText", str)
    size = optional_int(body, "dimensions") or _TITAN_SIZES[-1]
    if size not in _TITAN_SIZES:
        raise CallerError(400, f"Malformed input request: dimensions {size} is not one of {_TITAN_SIZES}")
    vector, tokens = unit_vector(text, size), tokens_of([text])
    reply = {"embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": tokens}
    return reply, tokens


def _cohere(body: dict[str, Any]) -> tuple[dict[str, Any], int]:
    given = strings(body.get("texts"))
    if not 1 <= len(given) <= 96:
        raise CallerError(400, "Malformed input request: texts must hold 1 to 96 strings")
    if not isinstance(body.get("input_type"), str):
        raise CallerError(400, "Malformed input request: input_type is required")
    size = optional_int(body, "output_dimension") or _COHERE_SIZE
    vectors = [unit_vector(text, size) for text in given]
    by_type = "embedding_types" in body
    reply = {
        "id": "00000000-0000-4000-8000-000000000000",
        "texts": given,
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        "embeddings": {"float": vectors} if by_type else vectors,
    }
    return reply, sum(tokens_of([text]) for text in given)
