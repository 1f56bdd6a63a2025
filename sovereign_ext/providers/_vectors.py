"""Embeddings in OpenAI's shape, for providers that speak another wire."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import invalid
from sovereign_ext.openai.request import Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import Answer, StreamFault, Usage


def texts_of(request: Request) -> list[str]:
    """The texts to embed. Raises ``CallerError`` for token ids, which only OpenAI's own models understand, and for an
    ``encoding_format`` that is none of OpenAI's."""
    given = request.values["input"]
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise CallerError(
            400, "This model's provider embeds text, not token ids.", param="input", code="unsupported_value"
        )
    if request.values.get("encoding_format") not in (None, "float", "base64"):
        raise invalid("encoding_format", "float or base64")
    return texts


def dimensions_of(request: Request) -> int | None:
    """The size of the vectors, if one is asked for. Raises ``CallerError`` if it is no positive integer."""
    value = request.values.get("dimensions")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise invalid("dimensions", "a positive integer")
    return value


def embeddings(request: Request, found: Any, tokens: int | None) -> Answer:
    """The answer that holds the vectors ``found``. Raises ``StreamFault`` if they are no vectors.

    ``tokens`` is what the provider counted, ``None`` if it said nothing.
    """
    try:
        vectors = msgspec.convert(found, list[list[float]])
    except msgspec.ValidationError:
        raise StreamFault(_shared.unusable("invalid_answer")) from None
    packed = request.values.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": at, "embedding": _pack(vector) if packed else vector}
        for at, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens or 0, "total_tokens": tokens or 0}
    body = msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})
    return Answer(body, Usage(tokens, None))


def _pack(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's ``encoding_format: base64``."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:  # beyond float32
        raise StreamFault(_shared.unusable("invalid_answer")) from None
