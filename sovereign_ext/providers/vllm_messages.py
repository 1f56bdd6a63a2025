"""The messages of a chat request as vLLM's server takes them.

Sources: vLLM's protocol definitions and its reading of content parts. A message that vLLM takes as it is keeps its
bytes; changed are ``developer`` messages (chat templates know ``system`` only), the ``function_call`` and ``function``
messages of old, refusals (which vLLM does not read) and empty ``arguments`` (which it cannot parse). Whether turns
alternate and calls have their results is the matter of the model's chat template.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import invalid, read_call, read_function, unsupported
from sovereign_ext.openai.members import Members

_MEDIA: Final = ("image_url", "audio_url", "video_url")
_SCHEMES: Final = ("data:", "https://")


def adapt_messages(raw: msgspec.Raw, messages: list[dict[str, Any]]) -> tuple[msgspec.Raw, bool]:
    """The messages (``raw`` as they came, ``messages`` parsed) for vLLM, and whether one marks a prefix to be cached.

    Raises ``CallerError`` 400 that names the place.
    """
    calls = _Calls()
    edits: dict[int, str] = {}  # which messages change: the id that is theirs by that, if any
    cached = False
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        cached |= _check_content(message, where)
        match message["role"]:
            case "developer":
                edits[at] = ""
            case "assistant":
                made = calls.ask(message, where)
                if made or _refusal(message) or _speechless(message):
                    edits[at] = made
            case "tool":
                calls.answer(message, where)
            case "function":
                edits[at] = calls.answer_of_old(message, where)
    if not edits:
        return raw, cached
    pieces = msgspec.json.decode(raw, type=list[msgspec.Raw])
    for at, id_ in edits.items():
        members = msgspec.json.decode(pieces[at], type=Members)
        _edit(members, messages[at], id_)
        pieces[at] = _raw(members)
    return _raw(pieces), cached


class _Calls:
    """The calls of the conversation and which of them wait for their result."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._by_name: dict[str, deque[str]] = {}  # ids of a function's calls, for the results of old
        self._made = 0

    def ask(self, message: Mapping[str, Any], where: str) -> str:
        """The calls of an assistant's message. Gives the id made for its ``function_call``, if it has one."""
        calls = message.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            raise invalid(f"{where}.tool_calls", "an array")
        for at, call in enumerate(calls or ()):
            read = read_call(call, f"{where}.tool_calls[{at}]")
            self._add(read.id, read.name)
        if message.get("function_call") is None:
            return ""
        name, _ = read_function(message["function_call"], f"{where}.function_call")
        self._made += 1
        made = f"legacy{self._made:03}"  # nine letters and digits, which Mistral's tokenizers insist on
        self._add(made, name)
        return made

    def answer(self, message: Mapping[str, Any], where: str) -> None:
        """The result of a call."""
        id_ = message.get("tool_call_id")
        if not isinstance(id_, str) or id_ not in self._waiting:
            raise _unasked(f"{where}.tool_call_id")
        self._waiting.remove(id_)

    def answer_of_old(self, message: Mapping[str, Any], where: str) -> str:
        """The id of the call that a message of role ``function`` answers: the first of that name that waits."""
        name = message.get("name")
        ids = self._by_name.get(name, deque()) if isinstance(name, str) else deque[str]()
        while ids and ids[0] not in self._waiting:
            ids.popleft()
        if not ids:
            raise _unasked(f"{where}.name")
        self._waiting.remove(ids[0])
        return ids.popleft()

    def _add(self, id_: str, name: str) -> None:
        self._waiting.add(id_)
        self._by_name.setdefault(name, deque()).append(id_)


def _check_content(message: Mapping[str, Any], where: str) -> bool:
    """Refuse what vLLM cannot take, or what a client of ours must not make it fetch. Gives whether a part is marked
    for a cache, which vLLM ignores."""
    if message.get("audio"):
        raise unsupported(f"{where}.audio")
    content = message.get("content")
    cached = False
    for at, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            continue  # vLLM takes text as it is for a part, and refuses the rest itself
        place = f"{where}.content[{at}]"
        if part.get("type") == "file" or "file" in part:
            raise unsupported(f"{place}.file")
        for name in _MEDIA:  # by the member, as vLLM does where a part has no type
            _check_url(part.get(name), f"{place}.{name}")
        cached |= bool(part.get("prompt_cache_breakpoint"))
    return cached


def _check_url(media: Any, where: str) -> None:
    """No plain HTTP into the network around the server, no file of its disk."""
    url = media.get("url") if isinstance(media, dict) else media
    if isinstance(url, str) and not url[:8].lower().startswith(_SCHEMES):
        raise invalid(f"{where}.url", "a data URL or an https URL")


def _refusal(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("refusal"), str) and bool(message["refusal"])


def _speechless(message: Mapping[str, Any]) -> bool:
    """Whether a call has empty arguments."""
    return any(not call["function"].get("arguments") for call in message.get("tool_calls") or ())


def _edit(members: Members, message: Mapping[str, Any], id_: str) -> None:
    match message["role"]:
        case "developer":
            members["role"] = msgspec.Raw(b'"system"')
        case "function":
            members["role"], members["tool_call_id"] = msgspec.Raw(b'"tool"'), _raw(id_)
        case _:
            _edit_assistant(members, message, id_)


def _edit_assistant(members: Members, message: Mapping[str, Any], id_: str) -> None:
    calls: list[Any] = []
    if message.get("tool_calls"):
        calls = msgspec.json.decode(members["tool_calls"], type=list[Members])
        for call in calls:
            call["function"] = _with_arguments(call["function"])
    if id_:
        function = _with_arguments(members.pop("function_call"))
        calls.append({"id": id_, "type": "function", "function": function})
    if calls:
        members["tool_calls"] = _raw(calls)
    if _refusal(message):
        refusal, said = members.pop("refusal"), message.get("content")
        if not said:
            members["content"] = refusal
        else:
            text = [{"type": "text", "text": members["content"]}]
            parts = text if isinstance(said, str) else msgspec.json.decode(members["content"], type=list[Any])
            members["content"] = _raw([*parts, {"type": "text", "text": refusal}])


def _with_arguments(raw: msgspec.Raw) -> msgspec.Raw:
    function = msgspec.json.decode(raw, type=Members)
    if msgspec.json.decode(function.get("arguments", b"null")):
        return raw
    function["arguments"] = msgspec.Raw(b'"{}"')
    return _raw(function)


def _unasked(param: str) -> CallerError:
    return CallerError(400, f"'{param}' answers no tool call before it.", param=param, code="invalid_value")


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
