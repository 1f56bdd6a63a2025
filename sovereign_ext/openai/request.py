"""Reading a client's request: the few members that routing needs, the rest untouched.

Values are kept as the raw JSON bytes the client sent (``members``), so that a passthrough provider gets them
unchanged: numbers keep their spelling, unknown fields survive. What is defined here for odd input: duplicate
top-level members: the last one counts and is the only one sent; NaN, Infinity, lone surrogates, invalid UTF-8,
nesting beyond the parser's limit and more values than an honest body has are 400.

Source: OpenAI API reference, chat completions and embeddings (2026).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from sovereign_ext.errors import CallerError

MAX_DEPTH: Final = 64
"""Deepest legal nesting. OpenAI's deepest legal request (a JSON schema) stays far below it."""

MOST_VALUES: Final = 500_000
"""Strings (names of members, too), arrays and objects of a body; a chat request has no more commas either, as numbers
are many in embeddings only. OpenAI takes 2,048 messages or inputs, and 128 tools. A body of nothing but ``[],[],…``
takes many times its size in memory, and seconds in which nobody else is served.
"""


class Endpoint(StrEnum):
    """The routes a model answers."""

    CHAT = "chat.completions"
    EMBEDDINGS = "embeddings"


class Request(msgspec.Struct, frozen=True):
    """A request that has the right types where it matters.

    ``members`` maps each top-level member to its JSON bytes, in the client's order. ``values`` is the parsed
    body, for adapters that translate.
    """

    endpoint: Endpoint
    model: str
    stream: bool
    include_usage: bool
    members: dict[str, msgspec.Raw]
    values: dict[str, Any]


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUES: Final = msgspec.json.Decoder()
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{},"))
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool", "function"})


def read_request(endpoint: Endpoint, body: bytes) -> Request:
    """Parse and check ``body``. Raises ``CallerError`` 400 naming the ``param`` at fault."""
    values = _parse(endpoint, body)
    model = values.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("model", values, "a non-empty string")
    stream = values.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _bad("stream", values, "a boolean")
    include_usage = _include_usage(values, bool(stream))
    if endpoint is Endpoint.CHAT:
        _check_messages(values)
    else:
        _check_input(values)
        if stream:
            raise CallerError(400, "Embeddings cannot be streamed.", param="stream", code="unsupported_value")
    return Request(
        endpoint=endpoint,
        model=model,
        stream=bool(stream),
        include_usage=include_usage,
        members=_MEMBERS.decode(body),
        values=values,
    )


def encode_members(members: dict[str, msgspec.Raw]) -> bytes:
    """The members as one JSON object, each value byte for byte as it was read."""
    return msgspec.json.encode(members)


def _parse(endpoint: Endpoint, body: bytes) -> dict[str, Any]:
    _check_structure(endpoint, body)
    try:
        values = _VALUES.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        place = str(error).rpartition("(")[2].rstrip(")") if "(byte" in str(error) else "its encoding"
        raise CallerError(
            400,
            f"We could not parse the JSON body of your request (at {place}). The API expects a JSON object.",
            code="invalid_json",
        ) from None
    if not isinstance(values, dict):
        raise CallerError(400, f"The body must be a JSON object, not {_name(values)}.", code="invalid_json")
    return values


def _check_structure(endpoint: Endpoint, body: bytes) -> None:
    """Raises ``CallerError`` for what nests too deep or has too many values, before either is made.

    Counts over the whole body are upper bounds that clear nearly every one; of the others strings are taken out.
    """
    brackets = body.count(b"{") + body.count(b"[")
    if brackets <= MAX_DEPTH and len(body) <= MOST_VALUES:
        return
    bare, strings = _without_strings(body)
    commas = bare.count(b",") if endpoint is Endpoint.CHAT else 0
    if max(strings + bare.count(b"["), commas) > MOST_VALUES:
        text = f"The JSON body has more than {MOST_VALUES} values."
        raise CallerError(400, text, code="invalid_json")
    if brackets > MAX_DEPTH and _too_deep(bare.replace(b",", b"")):
        text = f"The JSON body is nested more than {MAX_DEPTH} levels deep."
        raise CallerError(400, text, code="invalid_json")


def _without_strings(body: bytes) -> tuple[bytes, int]:
    """The brackets (all square) and commas of a body, and how many strings there are between them.

    In a run of backslashes the first begins an escape, so they pair off from the left. Where there are too many
    strings, that is all that is told.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    strings = -(-body.count(b'"') // 2)
    if strings > MOST_VALUES:
        return b"", strings
    return b"".join(body.split(b'"')[::2]).translate(_ALIKE, _NO_BRACKETS), strings


def _too_deep(brackets: bytes) -> bool:
    """Whether brackets nest beyond the limit: the innermost ones are taken away once for each level."""
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _include_usage(values: dict[str, Any], stream: bool) -> bool:
    options = values.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _bad("stream_options", values, "an object")
    if not stream:
        raise CallerError(
            400, "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise CallerError(
            400, f"Invalid type for 'stream_options.include_usage': expected a boolean, not {_name(wanted)}.",
            param="stream_options.include_usage", code="invalid_type",
        )  # fmt: skip
    return bool(wanted)


def _check_messages(values: dict[str, Any]) -> None:
    messages = values.get("messages")
    if not isinstance(messages, list):
        raise _bad("messages", values, "an array of messages")
    if not messages:
        raise CallerError(400, "'messages' is empty: at least one message is needed.", param="messages")
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict):
            raise CallerError(
                400, f"Invalid type for '{where}': expected an object, not {_name(message)}.",
                param=where, code="invalid_type",
            )  # fmt: skip
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise CallerError(
                400, f"Invalid value for '{where}.role': expected one of {', '.join(sorted(_ROLES))}.",
                param=f"{where}.role", code="invalid_value",
            )  # fmt: skip
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise CallerError(
                400,
                f"Invalid type for '{where}.content': expected a string or an array, not {_name(content)}.",
                param=f"{where}.content", code="invalid_type",
            )  # fmt: skip


def _check_input(values: dict[str, Any]) -> None:
    given = values.get("input")
    if not isinstance(given, str | list):
        raise _bad("input", values, "a string or an array")
    if not given:
        raise CallerError(400, "'input' is empty.", param="input", code="invalid_value")


def _bad(param: str, values: dict[str, Any], expected: str) -> CallerError:
    if param not in values:
        return CallerError(
            400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    return CallerError(
        400,
        f"Invalid type for '{param}': expected {expected}, not {_name(values[param])}.",
        param=param,
        code="invalid_type",
    )


def _name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
