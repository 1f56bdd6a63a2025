"""A conversation as Converse's messages: turns and their content blocks.

Source: botocore's service model of Bedrock's runtime (1.44) and the Bedrock user guide. Pictures, sound and files go as
bytes; to fetch them from a URL is done before, from S3 not at all. Converse refuses blank text, names with other
characters than it likes, and histories of tools that it is not given: so blank parts are left out, names made to fit,
and such a history is told as text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import (
    AssistantTurn,
    Audio,
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

MAX_CACHE_POINTS: Final = 4
_CACHE_POINT: Final = {"cachePoint": {"type": "default"}}
_BLANK: Final = {"text": " "}
"""A turn of nothing but white space. Bedrock refuses it, and says so; to leave the turn out would change the talk."""

_BEGINNING: Final = "Begin."
"""What the user is made to say where the assistant speaks first: Converse wants the user to."""

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_AUDIO: Final = frozenset({
    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg",
})  # fmt: skip
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9\s()\[\]-]")
_MAX_NAME: Final = 180  # characters of a document's name, which may have 200 with what makes it unique


class Blocks:
    """Translates one conversation. ``caches`` says whether the model takes cache points.

    With ``flat`` the history of tools is told as text. ``uncached`` says afterwards that a cache point was asked for
    and left out.
    """

    def __init__(self, *, caches: bool, flat: bool) -> None:
        self._caches = caches
        self._flat = flat
        self._points = 0
        self._names: set[str] = set()
        self.uncached = False

    def system(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """The system's texts."""
        return self._content(texts)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The turns. Raises ``CallerError`` for what Bedrock does not take."""
        found: list[dict[str, Any]] = [
            {"role": "user", "content": self._user(turn) or [_BLANK]}
            if isinstance(turn, UserTurn)
            else {"role": "assistant", "content": self._assistant(turn) or [_BLANK]}
            for turn in turns
        ]
        if found[0]["role"] == "assistant":
            found.insert(0, {"role": "user", "content": [{"text": _BEGINNING}]})
        last = found[-1]
        if (
            last["role"] == "assistant" and "text" in last["content"][-1]
        ):  # it is gone on from: no space at its end
            text = last["content"][-1]["text"]
            last["content"][-1] = {"text": text.rstrip() or text}
        return found

    def _user(self, turn: UserTurn) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for result in turn.results:
            if self._flat:
                blocks.append({"text": f"[{result.name} answered: {result.text}]"})
                blocks += self._content([part for part in result.content if not isinstance(part, Text)])
            else:
                blocks.append({"toolResult": self._result(result)})
        return blocks + self._content(turn.content)

    def _assistant(self, turn: AssistantTurn) -> list[dict[str, Any]]:
        blocks = self._content(turn.content)
        for call in turn.calls:
            if self._flat:
                arguments = msgspec.json.encode(call.arguments).decode()
                blocks.append({"text": f"[called {call.name} with {arguments}]"})
            else:
                blocks.append({"toolUse": _call(call)})
        return blocks

    def _result(self, result: ToolResult) -> dict[str, Any]:
        for part in result.content:
            if isinstance(part, Audio):
                raise unsupported(part.param)
        content = [block for block in self._content(result.content) if "cachePoint" not in block]
        return {"toolUseId": fitting_id(result.id, _TOOL_ID), "content": content}

    def _content(self, parts: Sequence[Content]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for part in parts:
            match part:
                case Text():
                    if part.text.strip():
                        blocks.append({"text": part.text})
                    if part.cached:
                        blocks += self._cache_point(blocks)
                case Image():
                    blocks.append({"image": _image(part)})
                case Audio():
                    blocks.append({"audio": _audio(part)})
                case Document():
                    blocks.append({"document": self._document(part)})
        return blocks

    def _cache_point(self, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not self._caches or self._points == MAX_CACHE_POINTS or not before:
            self.uncached = True
            return []
        self._points += 1
        return [_CACHE_POINT]

    def _document(self, document: Document) -> dict[str, Any]:
        if document.file_id:
            raise unsupported(document.param)
        stem, dot, extension = document.filename.rpartition(".")
        form = _DOCUMENTS.get(media_type(document.data, document.media_type)) or (
            extension.lower() if dot else ""
        )
        form = {"htm": "html", "markdown": "md", "text": "txt"}.get(form, form)
        if form not in _DOCUMENTS.values():
            raise invalid(document.param, f"a file of one of the types {', '.join(_DOCUMENTS.values())}")
        return {
            "format": form,
            "name": self._name(stem or document.filename),
            "source": {"bytes": document.data},
        }

    def _name(self, given: str) -> str:
        """A name that Converse takes, used once only: letters, digits, single spaces, hyphens and brackets."""
        plain = " ".join(_NOT_IN_A_NAME.sub(" ", given).split())[:_MAX_NAME].strip() or "document"
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain} {number}"
        self._names.add(name)
        return name


def tool_name(name: str, param: str) -> str:
    """The name, if Bedrock takes it. Raises ``CallerError`` naming ``param``."""
    if not _TOOL_NAME.fullmatch(name):
        raise invalid(param, "1 to 64 letters, digits, underscores and hyphens")
    return name


def _call(call: ToolCall) -> dict[str, Any]:
    name = tool_name(call.name, "messages")
    return {"toolUseId": fitting_id(call.id, _TOOL_ID), "name": name, "input": call.arguments}


def _image(image: Image) -> dict[str, Any]:
    """By what the bytes say: ``image/jpg`` and wrong media types are common."""
    if image.url:
        raise CallerError(
            400, "This model's provider takes images as data URLs only.",
            param=image.param, code="unsupported_value",
        )  # fmt: skip
    form = _IMAGES.get(media_type(image.data, image.media_type))
    if form is None:
        raise invalid(image.param, "a PNG, JPEG, GIF or WebP image")
    return {"format": form, "source": {"bytes": image.data}}


def _audio(audio: Audio) -> dict[str, Any]:
    if audio.format.lower() not in _AUDIO:
        raise invalid(f"{audio.param}.format", f"one of {', '.join(sorted(_AUDIO))}")
    return {"format": audio.format.lower(), "source": {"bytes": audio.data}}
