"""Claude's thinking on its way to the client and back.

A thinking block is signed, and Claude takes it back only unchanged, at the place where it stood, and from the model
that thought it. The client is given the blocks as ``extra_content.anthropic`` of the message::

    {"model": NAME, "thinking": [{"type": "thinking", "thinking": …, "signature": …, "text_before": 5}, …]}

``text_before`` (characters) and ``calls_before`` say how much of the message stood before a block, where it is not the
beginning. A client that sends the message back with its ``extra_content`` has them replayed; what does not fit
(another model's, damaged, cut) is left out. Source: Anthropic's documentation of thinking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sovereign_ext.providers._reply import mended

NAME: Final = "anthropic"
_KINDS: Final = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}


_FRAME: Final = 100  # characters that a block takes without its text


class Thoughts:
    """Gathers the blocks of one answer. Beyond ``limit`` characters none are given: half of them are of no use."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._blocks: list[dict[str, Any]] = []
        self._text = 0
        self._calls = 0
        self._parts: dict[str, list[str]] = {}

    def said(self, text: str) -> None:
        """The assistant has said more."""
        self._text += len(text)

    def called(self) -> None:
        """The assistant has called a tool."""
        self._calls += 1

    def open(self, kind: str) -> None:
        """A block begins."""
        if not self._fits(_FRAME):
            return
        block: dict[str, Any] = {"type": kind}
        if self._text:
            block["text_before"] = self._text
        if self._calls:
            block["calls_before"] = self._calls
        self._parts = {name: [] for name in _KINDS[kind]}
        self._blocks.append(block)

    def add(self, member: str, text: Any) -> None:
        """More of one member of the block at hand."""
        if isinstance(text, str) and member in self._parts and self._fits(len(text)):
            self._parts[member].append(text)

    def close(self) -> None:
        """The block is complete."""
        if self._blocks and self._parts:
            self._blocks[-1] |= {name: mended("".join(parts)) for name, parts in self._parts.items()}
        self._parts = {}

    def content(self, model: str) -> dict[str, Any] | None:
        """The message's ``extra_content``; ``None`` if there is nothing to give. ``model`` as the client knows it."""
        signed = [block for block in self._blocks if block.get("signature") or block.get("data")]
        return {NAME: {"model": model, "thinking": signed}} if signed else None

    def _fits(self, size: int) -> bool:
        self._left -= size
        if self._left < 0:
            self._blocks, self._parts = [], {}
        return self._left >= 0


def replayed(
    extra: Mapping[str, Any], model: str, text: int, calls: int
) -> list[tuple[int, int, dict[str, Any]]]:
    """The blocks to send back, each after how many characters of the message's ``text`` and how many of its ``calls``.

    Empty if there are none for this ``model`` or one of them does not fit the message.
    """
    given = extra.get(NAME)
    blocks = given.get("thinking") if isinstance(given, Mapping) and given.get("model") == model else None
    found: list[tuple[int, int, dict[str, Any]]] = []
    for block in blocks if isinstance(blocks, list) else []:
        kind = block.get("type") if isinstance(block, Mapping) else None
        members = _KINDS.get(kind) if isinstance(kind, str) else None
        if members is None or not all(isinstance(block.get(member), str) for member in members):
            return []
        at = block.get("text_before", 0), block.get("calls_before", 0)
        if not all(type(place) is int for place in at) or not (0 <= at[0] <= text and 0 <= at[1] <= calls):
            return []
        if found and (at[1], at[0]) < (found[-1][1], found[-1][0]):
            return []
        found.append((*at, {"type": kind} | {member: block[member] for member in members}))
    return found
