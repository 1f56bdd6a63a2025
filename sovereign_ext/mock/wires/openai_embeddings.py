"""OpenAI's embeddings answer (``/v1/embeddings``).

Unit vectors as numbers or as base64 of little-endian float32.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import tokens_of
from sovereign_ext.mock.content import unit_vector
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import Reply, json_reply
from sovereign_ext.mock.wires.base import optional_int

_SIZES = {"text-embedding-3-large": 3072}
_USUAL_SIZE = 1536
_MAX_INPUTS = 2048


def embeddings(body: dict[str, Any], model: str, shape: Shape, headers: tuple[tuple[str, str], ...]) -> Reply:
    """Answer an embeddings request. Raises ``CallerError`` (400)."""
    inputs = _inputs(body.get("input"))
    size = optional_int(body, "dimensions") or _SIZES.get(model, _USUAL_SIZE)
    if size > 3072:
        raise CallerError(
            400, f"Invalid value for 'dimensions': {size} is more than 3072.", param="dimensions"
        )
    packed = body.get("encoding_format") == "base64"
    vectors = [unit_vector(text, size) for text in inputs]
    usage: dict[str, Any] = {"prompt_tokens": sum(tokens_of([text]) for text in inputs)}
    usage["total_tokens"] = usage["prompt_tokens"]
    reply: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _packed(vector) if packed else vector}
            for number, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": usage | (shape.usage or {}),
    }
    if shape.omit_usage:
        del reply["usage"]
    return json_reply(reply, headers)


def _inputs(value: Any) -> list[str]:
    """Texts to embed.

    A text, texts, one list of token ids or several. Ids are told apart by their decimal form.
    """
    if isinstance(value, str):
        inputs = [value]
    elif isinstance(value, list) and value and all(isinstance(one, int) for one in value):
        inputs = [" ".join(map(str, value))]
    elif isinstance(value, list):
        inputs = [
            one if isinstance(one, str) else " ".join(map(str, one))
            for one in value
            if isinstance(one, str | list)
        ]
        if len(inputs) != len(value):
            raise CallerError(400, "Invalid type for 'input'.", param="input")
    else:
        raise CallerError(400, "Missing required parameter: 'input'.", param="input")
    if not inputs or not all(inputs):
        raise CallerError(400, "Invalid 'input': input cannot be an empty string or array.", param="input")
    if len(inputs) > _MAX_INPUTS:
        raise CallerError(400, f"Invalid 'input': at most {_MAX_INPUTS} entries.", param="input")
    return inputs


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
