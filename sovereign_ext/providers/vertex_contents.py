"""A conversation's turns as Gemini's ``contents``.

Roles are ``user`` and ``model``; results of tools are ``functionResponse`` parts that name their function. Signatures
of thoughts, which clients get as ``extra_content.google.thought_signature``, go back where they came from: models that
sign refuse the history of a turn without. A call that another provider's model made has none; it goes with the
constant that Google documents for such histories.
Source: Vertex AI's REST reference of ``Content``, "Thought signatures" (2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

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
from sovereign_ext.providers.vertex_models import Model

NO_SIGNATURE: Final = "skip_thought_signature_validator"

_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/_-]{2,}={0,2}")
_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_SUFFIXES: Final = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
}
_UNKNOWN_IMAGE: Final = "image/jpeg"
"""What an image's URL is taken for when its path does not tell: Vertex wants to be told something."""
_AUDIO: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "m4a": "audio/m4a",
    "aiff": "audio/aiff",
    "webm": "audio/webm",
}
_DOCUMENTS: Final = frozenset({"application/pdf", "application/json"})  # and text of any kind


def contents_of(turns: Sequence[Turn], model: Model) -> list[dict[str, Any]]:
    """The turns in Gemini's words. Raises ``CallerError`` for what it does not take."""
    return [
        {"role": "user", "parts": _user(turn, model)}
        if isinstance(turn, UserTurn)
        else {"role": "model", "parts": _assistant(turn, model)}
        for turn in turns
    ]


def text_parts(texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Texts, a part each."""
    return [{"text": text.text} for text in texts]


def _user(turn: UserTurn, model: Model) -> list[dict[str, Any]]:
    return [*(_response(result, model) for result in turn.results), *(_part(part) for part in turn.content)]


def _assistant(turn: AssistantTurn, model: Model) -> list[dict[str, Any]]:
    parts = text_parts(turn.content)
    signature = _signature(turn.extra)
    if parts and signature:
        parts[-1]["thoughtSignature"] = signature
    calls = [_call(call, model) for call in turn.calls]
    if calls and model.signs:
        # Of parallel calls only the first is signed, and only that one must be.
        calls[0].setdefault("thoughtSignature", NO_SIGNATURE)
    return parts + calls


def _call(call: ToolCall, model: Model) -> dict[str, Any]:
    function: dict[str, Any] = {"name": call.name, "args": call.arguments}
    if model.signs:
        function["id"] = call.id
    signature = _signature(call.extra)
    return {"functionCall": function} | ({"thoughtSignature": signature} if signature else {})


def _signature(extra: Mapping[str, Any]) -> str:
    """What the client was given as ``extra_content.google.thought_signature``; empty if it did not give it back."""
    google = extra.get("google")
    given = google.get("thought_signature") if isinstance(google, dict) else None
    if given is None:
        return ""
    if not isinstance(given, str) or not _SIGNATURE.fullmatch(given):
        raise invalid("messages", "extra_content.google.thought_signature as it was given")
    return given


def _response(result: ToolResult, model: Model) -> dict[str, Any]:
    response: dict[str, Any] = {"name": result.name, "response": _output(result.text)}
    if model.signs:
        response["id"] = result.id
    media = [part for part in result.content if not isinstance(part, Text)]
    for part in media:
        if not model.signs or isinstance(part, Audio) or (isinstance(part, Image) and part.url):
            raise unsupported(part.param)
    if media:
        response["parts"] = [_part(part) for part in media]
    return {"functionResponse": response}


def _output(text: str) -> dict[str, Any]:
    """A tool's output: a JSON object is itself, everything else stands under ``output``."""
    if text.lstrip().startswith("{"):
        try:
            parsed = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            return parsed
    return {"output": text}


def _part(part: Content) -> dict[str, Any]:
    match part:
        case Text():
            return {"text": part.text}
        case Image():
            return _image(part)
        case Audio():
            kind = _AUDIO.get(part.format.lower())
            if kind is None:
                raise invalid(f"{part.param}.format", f"one of {', '.join(_AUDIO)}")
            return _inline(kind, part.data)
        case Document():
            return _document(part)


def _image(image: Image) -> dict[str, Any]:
    if image.url:
        kind = _SUFFIXES.get(_suffix(urlsplit(image.url).path), _UNKNOWN_IMAGE)
        return {"fileData": {"mimeType": kind, "fileUri": image.url}}
    kind = media_type(image.data, image.media_type)
    if kind not in _IMAGES:
        raise unsupported(image.param)
    return _inline(kind, image.data)


def _document(file: Document) -> dict[str, Any]:
    if file.file_id:
        raise unsupported(file.param)
    declared = file.media_type or _SUFFIXES.get(_suffix(file.filename), "")
    kind = media_type(file.data, declared)
    if kind not in _DOCUMENTS and not kind.startswith("text/"):
        raise unsupported(file.param)
    return _inline(kind, file.data)


def _inline(kind: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


def _suffix(name: str) -> str:
    """A file name's ending with its dot, lower case; empty if it has none."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return dot + ending.lower() if dot else ""
