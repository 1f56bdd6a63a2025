"""How many tokens a request may have, counted without a tokenizer.

A rule that is the same for every model and errs upwards, for caps that are checked before anything is sent:

* text: one token for every 3 bytes of UTF-8 (English has about 4 to a token, Chinese and Japanese about 3);
* an image: 1,600 tokens, whatever its size and detail;
* everything else of a message or the request that a model is given (tool calls, tools, response format, documents,
  other parts): its JSON like text;
* each message: 8 tokens more for its role and markers;
* embeddings: input that is already tokens counts as it is.

What was really used is in the provider's answer. Deliberately not here: prices.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeGuard

import msgspec

from sovereign_ext.openai.request import Endpoint, Request

BYTES_PER_TOKEN: Final = 3
IMAGE_TOKENS: Final = 1_600
MESSAGE_TOKENS: Final = 8
MOST: Final = 1_000_000_000
"""What a caller's own bounds are taken for at most, so that every product stays a whole number of JSON."""

_MOST_CHOICES: Final = 16_384  # vLLM's own limit
_LONGEST_NUMBER: Final = 64  # characters
_BOUNDS: Final = ("max_completion_tokens", "max_tokens")
# What a model is given besides the messages; the last two are vLLM's.
_BESIDE: Final = ("tools", "functions", "response_format", "documents", "chat_template_kwargs")

_encode: Final = msgspec.json.Encoder().encode


class Estimate(msgspec.Struct, frozen=True):
    """``max_tokens`` is the caller's bound for all ``choices`` together, ``None`` where it set none."""

    prompt_tokens: int
    max_tokens: int | None
    choices: int


def estimate(request: Request) -> Estimate:
    """The estimate for ``request``. Total: what has the wrong type counts by its JSON or as absent."""
    values = request.values
    if request.endpoint is Endpoint.EMBEDDINGS:
        return Estimate(_input(values["input"]), 0, 1)
    choices = min(_count(values.get("n")) or 1, _MOST_CHOICES)
    bound = _bound(values)
    return Estimate(_prompt(values), None if bound is None else bound * choices, choices)


def _prompt(values: dict[str, Any]) -> int:
    size, images = 0, 0
    for message in values["messages"]:
        for name, value in message.items():
            if name == "role" or value is None:
                continue
            if name == "content" and isinstance(value, list):
                for part in value:
                    if isinstance(part, dict) and part.get("type") == "image_url":
                        images += 1
                    else:
                        size += _part(part)
            else:
                size += _size(value)
    size += sum(_size(values[name]) for name in _BESIDE if values.get(name) is not None)
    return _tokens(size) + images * IMAGE_TOKENS + len(values["messages"]) * MESSAGE_TOKENS


def _part(part: object) -> int:
    """A text part is its text; any other part is its JSON."""
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return _size(part["text"])
    return _size(part)


def _input(given: str | list[Any]) -> int:
    if _are_tokens(given):
        return len(given)
    items: Iterable[Any] = [given] if isinstance(given, str) else given
    total = 0
    for item in items:
        if isinstance(item, int):
            total += 1
        elif _are_tokens(item):
            total += len(item)
        else:
            total += _tokens(_size(item))
    return total


def _are_tokens(value: object) -> TypeGuard[list[int]]:
    """There may be millions: looked at without a step of Python's for each."""
    return isinstance(value, list) and set(map(type, value)) <= {int, bool}


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return len(_encode(value))


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _bound(values: dict[str, Any]) -> int | None:
    """The larger of the two bounds: some servers know only one of them, and to some 0 is none."""
    bounds = [_count(given) for name in _BOUNDS if (given := values.get(name)) is not None]
    return max(filter(None, bounds)) if bounds and all(bounds) else None


def _count(value: object) -> int | None:
    """A whole number that is not negative, also as lenient servers read one (``8.0``, ``"8"``); anything else is the
    provider's to refuse."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return min(value, MOST)
    return None
