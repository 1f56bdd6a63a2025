"""What vLLM says otherwise in a choice than our clients expect: reasoning, and calls for clients of old.

Sources: vLLM's protocol definitions; OpenAI API reference, chat completions (``function_call``, deprecated). Other
wires get this from ``_reply``; here an answer in OpenAI's shape is changed in place, piece by piece, and everything
else keeps its bytes.

- ``reasoning``, as newer versions call it, is told as ``reasoning_content``, as from all kinds of providers;
- a client that named its tools as ``functions`` is told ``function_call``. There is room for one call: of several the
  first is told, as OpenAI's models of that time did.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sovereign_ext.openai.members import Members, raw_items, raw_members

REASONING: Final = "reasoning"
_QUOTE: Final = b'"'
_NULL: Final = b"null"


def retell(choice: Members, *, legacy: bool) -> None:
    """Change a choice, streamed or whole. ``legacy`` asks for ``function_call`` instead of ``tool_calls``."""
    for name in ("message", "delta"):
        told = raw_members(bytes(choice[name])) if name in choice else None
        if told is None or not (REASONING in told or (legacy and "tool_calls" in told)):
            continue
        reasoning = told.pop(REASONING, None)
        if reasoning is not None and bytes(reasoning) != _NULL:
            told["reasoning_content"] = reasoning
        call = _first(bytes(told.pop("tool_calls", _NULL))) if legacy else None
        if call:
            told["function_call"] = msgspec.Raw(msgspec.json.encode(call))
        choice[name] = msgspec.Raw(msgspec.json.encode(told))
    if legacy and bytes(choice.get("finish_reason", b"")) == b'"tool_calls"':
        choice["finish_reason"] = msgspec.Raw(b'"function_call"')


def _first(calls: bytes) -> Members:
    """Name and arguments of the first call, as far as they are told here; empty if these are others' pieces."""
    pieces = [raw_members(bytes(each)) or {} for each in raw_items(calls) or ()]
    if pieces and "index" not in pieces[0]:
        pieces = pieces[:1]  # whole calls, not pieces of them
    else:
        pieces = [piece for piece in pieces if bytes(piece.get("index", b"")) == b"0"]
    functions = [raw_members(bytes(piece["function"])) or {} for piece in pieces if "function" in piece]
    call: Members = {}
    for name in ("name", "arguments"):
        texts = [bytes(function[name]) for function in functions if name in function]
        texts = [text for text in texts if text.startswith(_QUOTE)]
        if texts:
            # What is within the quotes of JSON strings, put together, is that of the joined string.
            call[name] = msgspec.Raw(_QUOTE + b"".join(text[1:-1] for text in texts) + _QUOTE)
    return call
