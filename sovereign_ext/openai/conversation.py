"""A chat request's messages, checked and brought into one order, for providers that speak another wire.

OpenAI lets a conversation be written in many ways; other providers take one. Here it becomes that one:

- ``system`` and ``developer`` messages, wherever they stand, are the system texts, in their order;
- neighbours of the same role are one turn, and nothing of either is lost;
- results of tools stand right after the turn that asked for them, in the order of the calls, before what the
  user said next; a call whose result is missing and a result without a call are refused, as OpenAI does;
- ids of calls differ: one that is used again in a later turn is made another;
- ``functions`` of old (``function_call``, role ``function``) are tools with ids made here;
- refusals are text, ``name`` of a message is dropped, ``arguments`` are parsed.

What a provider cannot take (images, audio, …) is for its adapter to refuse: ``unsupported`` names the place.
Source: OpenAI API reference, chat completions (2026).
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sovereign_ext.errors import CallerError


@dataclass(frozen=True, slots=True)
class Text:
    """Text, never empty. ``cached`` marks the end of a prefix that the client wants cached."""

    text: str
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: ``data`` (base64, checked) with the ``media_type`` its data URL gave, or an https ``url``.

    ``param`` is where it stands in the request, for refusals.
    """

    param: str
    data: str = ""
    media_type: str = ""
    url: str = ""
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound as base64 ``data``; ``format`` is OpenAI's word for it (``wav``, ``mp3``)."""

    param: str
    data: str
    format: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file as base64 ``data`` with its ``media_type`` (empty if not said), or by ``file_id``."""

    param: str
    data: str = ""
    media_type: str = ""
    filename: str = ""
    file_id: str = ""


Content = Text | Image | Audio | Document


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made. ``extra`` is the client's ``extra_content``: what a provider gave along."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to the call ``id`` of the function ``name``."""

    id: str
    name: str
    content: tuple[Content, ...]

    @property
    def text(self) -> str:
        """Its text, parts joined by line breaks."""
        return "\n".join(part.text for part in self.content if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What tools answered, then what the user said."""

    results: tuple[ToolResult, ...]
    content: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """What the assistant said and which tools it called. ``extra`` is the ``extra_content`` of its message.

    Where the turn is made of several messages there is none: what a provider gave along belongs to one answer of its.
    """

    content: tuple[Text, ...]
    calls: tuple[ToolCall, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


Turn = UserTurn | AssistantTurn


@dataclass(frozen=True, slots=True)
class Conversation:
    """``turns`` alternate; the first may be either's, and there is at least one."""

    system: tuple[Text, ...]
    turns: tuple[Turn, ...]


def read_conversation(values: Mapping[str, Any]) -> Conversation:
    """The conversation in ``values["messages"]``, a list of objects with known roles (``openai.request``).

    Raises ``CallerError`` 400 that names the place.
    """
    reader = _Reader()
    for at, message in enumerate(values["messages"]):
        reader.take(message, f"messages[{at}]")
    return reader.finish()


class _Reader:
    """Collects turns. Calls that wait for their results stand between an assistant's turn and the next one."""

    def __init__(self) -> None:
        self._system: list[Text] = []
        self._turns: list[Turn] = []
        self._said: list[Content] = []  # the user's turn so far
        self._text: list[Text] = []  # the assistant's turn so far
        self._calls: list[ToolCall] = []
        self._extra: dict[str, Any] = {}
        self._assistant = False
        self._results: dict[str, ToolResult] = {}
        self._ids: dict[
            str, str
        ] = {}  # the client's id of a call, the last one if several: its own in all of it
        self._asked: dict[str, str] = {}  # id of a call without its result: where it stands
        self._names: dict[str, str] = {}  # id of a call: its function
        self._by_name: dict[str, deque[str]] = {}  # the same the other way round, for the results of old
        self._made = 0

    def take(self, message: Mapping[str, Any], where: str) -> None:
        role = message["role"]
        if role in ("system", "developer"):
            self._system += _texts(message.get("content"), f"{where}.content")
        elif role == "assistant":
            self._take_assistant(message, where)
        elif role in ("tool", "function"):
            self._take_result(message, where, legacy=role == "function")
        else:
            said = _content(message.get("content"), f"{where}.content")
            if said:  # an empty message parts nothing
                self._end_assistant()
                self._said += said

    def finish(self) -> Conversation:
        self._end_assistant()
        self._end_user()
        if not self._turns:
            raise CallerError(
                400, "'messages' needs a user or assistant message with content.",
                param="messages", code="invalid_value",
            )  # fmt: skip
        return Conversation(tuple(self._system), tuple(self._turns))

    def _take_assistant(self, message: Mapping[str, Any], where: str) -> None:
        if message.get("audio"):
            raise unsupported(f"{where}.audio")
        texts = _texts(message.get("content"), f"{where}.content")
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            texts.append(Text(refusal))
        calls, legacy = message.get("tool_calls"), message.get("function_call")
        if calls is not None and not isinstance(calls, list):
            raise invalid(f"{where}.tool_calls", "an array")
        if not texts and not calls and legacy is None:
            return  # an empty message parts nothing
        if not self._assistant or self._said or self._results:
            self._end_assistant()
            self._end_user()
        extra = message.get("extra_content")
        self._extra = dict(extra) if isinstance(extra, dict) and not self._assistant else {}
        self._assistant = True
        self._text += texts
        for at, call in enumerate(calls or ()):
            self._add_call(read_call(call, f"{where}.tool_calls[{at}]"), f"{where}.tool_calls[{at}].id")
        if legacy is not None:
            name, arguments = read_function(legacy, f"{where}.function_call")
            self._made += 1
            self._add_call(ToolCall(f"call_legacy{self._made}", name, arguments), f"{where}.function_call")

    def _add_call(self, call: ToolCall, where: str) -> None:
        if self._ids.get(call.id) in self._asked:
            raise CallerError(400, f"'{where}' is used twice.", param=where, code="invalid_value")
        id_ = call.id
        while id_ in self._names:  # by a turn before: some clients count from one in each
            self._made += 1
            id_ = f"{call.id}.{self._made}"
        self._ids[call.id], call = id_, replace(call, id=id_)
        self._names[call.id], self._asked[call.id] = call.name, where
        self._by_name.setdefault(call.name, deque()).append(call.id)
        self._calls.append(call)

    def _take_result(self, message: Mapping[str, Any], where: str, *, legacy: bool) -> None:
        if legacy:
            name = message.get("name")
            # The results of old come one by one, each for the first call of the function that waits for one.
            waiting = self._by_name.get(name) if isinstance(name, str) else None
            while waiting and waiting[0] not in self._asked:
                waiting.popleft()
            id_ = waiting[0] if waiting else None
        else:
            given = message.get("tool_call_id")
            id_ = self._ids.get(given) if isinstance(given, str) else None
        if id_ is None or id_ not in self._asked:
            param = f"{where}.{'name' if legacy else 'tool_call_id'}"
            raise CallerError(
                400, f"'{param}' answers no tool call of the turn before.", param=param, code="invalid_value"
            )
        del self._asked[id_]
        content = tuple(_content(message.get("content"), f"{where}.content"))
        self._results[id_] = ToolResult(id_, self._names[id_], content)

    def _end_assistant(self) -> None:
        """The user speaks, or it is over: the calls must have their results."""
        if not self._assistant:
            return
        self._assistant = False
        if self._asked:
            where = next(iter(self._asked.values()))
            raise CallerError(
                400, "An assistant message with tool calls must be followed by a tool message for each of them; "
                f"there is none for '{where}'.", param=where, code="invalid_value",
            )  # fmt: skip
        self._turns.append(AssistantTurn(tuple(self._text), tuple(self._calls), dict(self._extra)))
        self._results = {call.id: self._results[call.id] for call in self._calls}  # in the order of the calls
        self._text, self._calls, self._extra = [], [], {}

    def _end_user(self) -> None:
        if self._said or self._results:
            self._turns.append(UserTurn(tuple(self._results.values()), tuple(self._said)))
        self._said, self._results = [], {}


def read_call(call: Any, where: str) -> ToolCall:
    """A call of a function in an assistant message; ``where`` is its place. Raises ``CallerError``."""
    if not isinstance(call, dict):
        raise invalid(where, "an object")
    if call.get("type", "function") != "function":
        raise unsupported(f"{where}.type")
    id_ = call.get("id")
    if not isinstance(id_, str) or not id_:
        raise invalid(f"{where}.id", "a non-empty string")
    name, arguments = read_function(call.get("function"), f"{where}.function")
    extra = call.get("extra_content")
    return ToolCall(id_, name, arguments, extra if isinstance(extra, dict) else {})


def read_function(function: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    """Name and arguments: a JSON object, or none for which an empty one stands. Raises ``CallerError``."""
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(f"{where}.name", "a non-empty string")
    given = function.get("arguments")
    try:
        arguments = msgspec.json.decode(given or "{}")
    except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise invalid(f"{where}.arguments", "a JSON object in a string")
    return name, arguments


def _texts(content: str | list[Any] | None, where: str) -> list[Text]:
    """Content that may be text only."""
    found: list[Text] = []
    for part in _content(content, where):
        if not isinstance(part, Text):
            raise unsupported(part.param)
        found.append(part)
    return found


def _content(content: str | list[Any] | None, where: str) -> list[Content]:
    if not isinstance(content, list):
        return [Text(content)] if content else []
    return [part for at, each in enumerate(content) for part in _part(each, f"{where}[{at}]")]


def _part(part: Any, where: str) -> list[Content]:
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "text" | "refusal":
            text = part.get(kind)
            if not isinstance(text, str):
                raise invalid(f"{where}.{kind}", "a string")
            return [Text(text, cached=bool(part.get("prompt_cache_breakpoint")))] if text else []
        case "image_url":
            return [_image(part.get("image_url"), f"{where}.image_url")]
        case "input_audio":
            return [_audio(part.get("input_audio"), f"{where}.input_audio")]
        case "file":
            return [_document(part.get("file"), f"{where}.file")]
    raise unsupported(f"{where}.type") if isinstance(kind, str) else invalid(f"{where}.type", "a string")


def _image(image: Any, where: str) -> Image:
    url = image.get("url") if isinstance(image, dict) else image
    detail = image.get("detail") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise invalid(f"{where}.url", "a string")
    detail = detail if isinstance(detail, str) else None
    if url[:5].lower() == "data:":
        media_type, data = _data_url(url, f"{where}.url")
        return Image(f"{where}.url", data, media_type, detail=detail)
    if url[:8].lower() != "https://":
        raise invalid(f"{where}.url", "a data URL or an https URL")
    return Image(f"{where}.url", url=url, detail=detail)


def _audio(audio: Any, where: str) -> Audio:
    data = audio.get("data") if isinstance(audio, dict) else None
    kind = audio.get("format") if isinstance(audio, dict) else None
    if not isinstance(kind, str) or not kind:
        raise invalid(f"{where}.format", "a string")
    return Audio(where, _base64(data, f"{where}.data"), kind)


def _document(file: Any, where: str) -> Document:
    if not isinstance(file, dict):
        raise invalid(where, "an object")
    name = file.get("filename")
    filename = name if isinstance(name, str) else ""
    file_id, data = file.get("file_id"), file.get("file_data")
    if isinstance(file_id, str) and file_id:
        return Document(f"{where}.file_id", file_id=file_id, filename=filename)
    if not isinstance(data, str) or not data:
        raise invalid(f"{where}.file_data", "a non-empty string")
    if data[:5].lower() == "data:":
        media_type, data = _data_url(data, f"{where}.file_data")
        return Document(f"{where}.file_data", data, media_type, filename)
    return Document(f"{where}.file_data", _base64(data, f"{where}.file_data"), "", filename)


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Media type (lower case, without parameters) and checked base64 of a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    kind, *parameters = head.split(";")
    if not comma or not parameters or parameters[-1].strip().lower() != "base64":
        raise invalid(where, "a base64 data URL")
    return kind.strip().lower(), _base64(data, where)


def _base64(data: Any, where: str) -> str:
    """``data`` itself, if it is base64."""
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise invalid(where, "valid base64") from None
    if not data:
        raise invalid(where, "something in base64")
    return str(data)


def invalid(param: str, expected: str) -> CallerError:
    """A value that no provider could take."""
    return CallerError(
        400, f"Invalid value for '{param}': expected {expected}.", param=param, code="invalid_value"
    )


def unsupported(param: str) -> CallerError:
    """A value that is legal, but not to be had from this provider; leaving it out would change the answer."""
    return CallerError(
        400, f"Unsupported parameter: '{param}' is not available from this model's provider.",
        param=param, code="unsupported_parameter",
    )  # fmt: skip
