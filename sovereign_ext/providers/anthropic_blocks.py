"""A conversation as the Messages API takes it: turns and their content blocks.

Source: Anthropic's API reference and its SDK's types (2.12). Claude refuses blank text, tool ids with other characters
than it likes, and a conversation that the assistant begins: so blank parts are left out, ids made to fit, and the user
made to say something first. Files by id and sound are not taken; pictures are told by their bytes, because
``image/jpg`` and wrong media types are common.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import (
    AssistantTurn,
    Content,
    Document,
    Image,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    UserTurn,
    invalid,
    unsupported,
)
from sovereign_ext.providers._media import media_type
from sovereign_ext.providers._shared import fitting_id
from sovereign_ext.providers.anthropic_thinking import replayed

MAX_BREAKPOINTS: Final = 4
_BEGINNING: Final = "Begin."
"""What the user is made to say where the assistant speaks first."""

_TOOL_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Blocks:
    """Translates one conversation with the model that the client calls ``model``.

    ``by_url`` says whether the endpoint fetches pictures itself. Afterwards ``uncached`` says that a cache breakpoint
    was asked for and left out.
    """

    def __init__(self, model: str, *, by_url: bool) -> None:
        self._model = model
        self._by_url = by_url
        self._marked: list[dict[str, Any]] = []
        self.uncached = False

    def system(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """The system's texts. To be asked for before ``messages``, as they stand before them."""
        return self._content(texts)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The turns. Raises ``CallerError`` for what the provider does not take."""
        found: list[dict[str, Any]] = []
        for turn in turns:
            user = isinstance(turn, UserTurn)
            content = self._user(turn) if isinstance(turn, UserTurn) else self._assistant(turn)
            if content:
                found.append({"role": "user" if user else "assistant", "content": content})
        if not found:
            raise invalid("messages", "a user or assistant message that is not blank")
        if found[0]["role"] == "assistant":
            found.insert(0, {"role": "user", "content": [{"type": "text", "text": _BEGINNING}]})
        last = found[-1]["content"][-1]
        if found[-1]["role"] == "assistant" and last["type"] == "text":  # gone on from: no space at its end
            last["text"] = last["text"].rstrip()
        return found

    def limit_breakpoints(self) -> None:
        """Keep the last ones only: they reach furthest, and more than four are refused."""
        for block in self._marked[:-MAX_BREAKPOINTS]:
            del block["cache_control"]
            self.uncached = True

    def _user(self, turn: UserTurn) -> list[dict[str, Any]]:
        return [*(self._result(result) for result in turn.results), *self._content(turn.content)]

    def _assistant(self, turn: AssistantTurn) -> list[dict[str, Any]]:
        length = sum(len(part.text) for part in turn.content)
        thoughts = replayed(turn.extra, self._model, length, len(turn.calls))
        blocks: list[dict[str, Any]] = []
        at = 0
        for part in turn.content:
            cuts = [text for text, calls, _ in thoughts if calls == 0 and at <= text < at + len(part.text)]
            for start, end in zip([at, *cuts], [*cuts, at + len(part.text)], strict=True):
                blocks += [block for text, calls, block in thoughts if calls == 0 and text == start < end]
                piece = part.text[start - at : end - at]
                blocks += self._content([Text(piece, cached=part.cached and end == at + len(part.text))])
            at += len(part.text)
        blocks += [block for text, calls, block in thoughts if calls == 0 and text == length]
        for number, call in enumerate(turn.calls, 1):
            blocks.append(_call(call))
            blocks += [block for _, calls, block in thoughts if calls == number]
        return blocks

    def _result(self, result: ToolResult) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": fitting_id(result.id, _TOOL_ID)}
        content = self._content(result.content)
        return block | {"content": content} if content else block

    def _content(self, parts: Sequence[Content]) -> list[dict[str, Any]]:
        return [block for part in parts if (block := self._block(part)) is not None]

    def _block(self, part: Content) -> dict[str, Any] | None:
        match part:
            case Text():
                return self._text(part)
            case Image():
                return {"type": "image", "source": self._image(part)}
            case Document():
                source = _document(part)
                return {"type": "document", "source": source} | (
                    {"title": part.filename[:500]} if part.filename else {}
                )
        raise unsupported(part.param)

    def _text(self, part: Text) -> dict[str, Any] | None:
        if not part.text.strip():
            return None
        block: dict[str, Any] = {"type": "text", "text": part.text}
        if part.cached:
            block["cache_control"] = {"type": "ephemeral"}
            self._marked.append(block)
        return block

    def _image(self, image: Image) -> dict[str, Any]:
        if image.url:
            if not self._by_url:
                raise CallerError(
                    400, "This model's provider takes images as data URLs only.",
                    param=image.param, code="unsupported_value",
                )  # fmt: skip
            return {"type": "url", "url": image.url}
        found = media_type(image.data, image.media_type)
        if found not in _IMAGES:
            raise invalid(image.param, "a PNG, JPEG, GIF or WebP image")
        return {"type": "base64", "media_type": found, "data": image.data}


def _document(document: Document) -> dict[str, Any]:
    """A PDF by its bytes, anything else as text if it is said to be text."""
    if document.file_id:
        raise unsupported(document.param)
    found = media_type(document.data, document.media_type)
    if found == "application/pdf":
        return {"type": "base64", "media_type": found, "data": document.data}
    if found.startswith("text/") or not found:
        try:
            text = base64.b64decode(document.data).decode()
        except UnicodeDecodeError:
            raise invalid(document.param, "text in UTF-8, or a PDF") from None
        return {"type": "text", "media_type": "text/plain", "data": text}
    raise invalid(document.param, "a PDF or a text file")


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": fitting_id(call.id, _TOOL_ID),
        "name": call.name,
        "input": call.arguments,
    }
