"""OpenAI's own wire: what comes in goes out, apart from the model's name and the usage plumbing.

Sources: OpenAI API reference (chat completions, embeddings, 2026). ``stream_options.include_usage`` is always
asked for, because every call is metered; the usage chunk and every ``"usage":null`` are taken out again when
the client did not ask. Values are never re-serialised: members travel as the bytes that came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.errors import ServiceError
from sovereign_ext.openai import splice
from sovereign_ext.openai.members import Members, raw_items, raw_members
from sovereign_ext.openai.request import Endpoint, Request, encode_members
from sovereign_ext.openai.sse import Event, EventTooLarge, SseDecoder
from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import (
    Answer,
    Fault,
    Item,
    Part,
    StreamFault,
    StreamTranslator,
    Target,
    UpstreamRequest,
    Usage,
)
from sovereign_ext.providers.support import PASSED_ON, Support

_PATHS: Final = {Endpoint.CHAT: "/chat/completions", Endpoint.EMBEDDINGS: "/embeddings"}
_ANY: Final = msgspec.json.Decoder()
_NULL: Final = b"null"
_END: Final = b"[DONE]"


class OpenAIAdapter:
    """``kind: openai``, and the ground that OpenAI-compatible servers stand on."""

    kind = ProviderKind.OPENAI
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})
    support: Support = PASSED_ON
    strip_top: frozenset[str] = frozenset()
    strip_choice: frozenset[str] = frozenset()

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        members = dict(request.members)
        members["model"] = msgspec.Raw(msgspec.json.encode(target.deployment.upstream_model))
        dropped = self.adapt(members, request)
        if request.stream and not request.include_usage:
            members["stream_options"] = _with_usage(members.get("stream_options"))
        headers = _shared.base_headers("text/event-stream" if request.stream else "application/json")
        headers += _shared.bearer(target)
        if target.provider.organization:
            headers.append(("openai-organization", target.provider.organization))
        if target.provider.project:
            headers.append(("openai-project", target.provider.project))
        authority, path = _shared.place(target, _PATHS[request.endpoint])
        return UpstreamRequest(path, authority, tuple(headers), encode_members(members), dropped)

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        members = raw_members(body)
        if members is None:
            raise StreamFault(_shared.unusable("invalid_json"))
        if _is_error(members):
            raise StreamFault(stream_error(body, target))
        wanted = members.get("choices" if request.endpoint is Endpoint.CHAT else "data")
        if wanted is None or not bytes(wanted).startswith(b"["):
            raise StreamFault(_shared.unusable("invalid_answer"))
        usage = _usage(members["usage"]) if "usage" in members else Usage()
        self.clean(members, request)
        return Answer(encode_members(members), usage)

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        return PassthroughStream(self, request, target, limit)

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        return _shared.status_fault(status, headers, body, target, now_s)

    def adapt(self, members: Members, request: Request) -> tuple[str, ...]:
        """Change what this kind of server wants otherwise than OpenAI, and name what is dropped. By default nothing."""
        return ()

    def clean(self, members: Members, request: Request) -> None:
        """Name the model as the client did, and drop what this kind of server adds to OpenAI's shape."""
        if "model" in members:
            members["model"] = msgspec.Raw(msgspec.json.encode(request.model))
        members.pop(splice.NAME, None)  # an attestation is ours to give, not the provider's
        for name in self.strip_top:
            members.pop(name, None)
        choices = bytes(members.get("choices", b""))
        if choices and self.concerns(choices, request):
            members["choices"] = self._opened(choices, request)

    def _opened(self, choices: bytes, request: Request) -> msgspec.Raw:
        """``choices``, each cleaned. Raises ``StreamFault`` if they are no array of objects."""
        items, cleaned = raw_items(choices), list[Members]()
        for item in items or ():
            choice = raw_members(bytes(item))
            if choice is not None:
                self.clean_choice(choice, request)
                cleaned.append(choice)
        if items is None or len(cleaned) < len(items):
            raise StreamFault(_shared.unusable("invalid_json"))
        return msgspec.Raw(msgspec.json.encode(cleaned))

    def concerns(self, choices: bytes, request: Request) -> bool:
        """Whether ``clean_choice`` may find something to change in one of ``choices``; if not, they stay closed."""
        return any(b'"' + name.encode() + b'"' in choices for name in self.strip_choice)

    def clean_choice(self, choice: Members, request: Request) -> None:
        """Change what this kind of server says otherwise in a choice than OpenAI."""
        for name in self.strip_choice:
            choice.pop(name, None)


class PassthroughStream:
    """An OpenAI stream, event by event: classify, clean, keep the bytes of everything else."""

    __slots__ = ("_adapter", "_decoder", "_request", "_target", "terminal", "usage")

    def __init__(self, adapter: OpenAIAdapter, request: Request, target: Target, limit: int) -> None:
        self._adapter = adapter
        self._request = request
        self._target = target
        self._decoder = SseDecoder(limit)
        self.usage = Usage()
        self.terminal = False

    def feed(self, piece: bytes) -> Iterator[Item]:
        try:
            for event in self._decoder.feed(piece):
                yield from self._event(event)
        except EventTooLarge:
            raise StreamFault(_shared.unusable("event_too_large")) from None

    def flush(self) -> Iterator[Item]:
        for event in self._decoder.flush():
            if event.data == _END or raw_members(event.data) is not None:  # else it broke off there
                yield from self._event(event)

    def _event(self, event: Event) -> Iterator[Item]:
        if self.terminal:
            return  # nothing counts after the end marker
        if event.data == _END:
            self.terminal = True
            yield Item(Part.DONE)
            return
        item = self._chunk(event)
        if item is not None:
            yield item

    def _chunk(self, event: Event) -> Item | None:
        members = raw_members(event.data)
        if members is None:
            raise StreamFault(_shared.unusable("invalid_json"))
        if _is_error(members) or event.type == b"error":
            raise StreamFault(stream_error(event.data, self._target))
        if "choices" not in members:
            return None  # not a chunk; an unknown event is not for the client's parser either
        self._adapter.clean(members, self._request)
        part = part_of(bytes(members["choices"]))
        usage = members.get("usage")
        if usage is not None and bytes(usage) != _NULL:
            self.usage = _usage(usage)
        elif part is Part.USAGE:
            part = Part.LIFECYCLE  # choices:[] without usage, as Azure's prompt filter chunk
        if not self._request.include_usage:
            if part is Part.USAGE:
                return None
            members.pop("usage", None)
        # A value spread over several data: lines holds line breaks, which would end a line of ours.
        return Item(part, encode_members(members).replace(b"\n", b" "))


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    delta: dict[str, Any] | None = None


_CHOICES: Final = msgspec.json.Decoder(list[_Choice])


def part_of(choices: bytes) -> Part:
    """What a chunk's ``choices`` hold. Raises ``StreamFault`` if they are no list of choices."""
    try:
        parsed = _CHOICES.decode(choices)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = [_Choice(each.get("finish_reason"), each.get("delta")) for each in _choices_slow(choices)]
    if not parsed:
        return Part.USAGE
    if any(choice.finish_reason for choice in parsed):
        return Part.FINISH
    for choice in parsed:
        for name, value in (choice.delta or {}).items():
            if name != "role" and value:
                return Part.CONTENT
    return Part.LIFECYCLE


def _choices_slow(choices: bytes) -> list[dict[str, Any]]:
    """msgspec refuses lone surrogates, which providers do send in the middle of an emoji; json takes them."""
    try:
        parsed = json.loads(choices)
    except (ValueError, RecursionError):
        raise StreamFault(_shared.unusable("invalid_json")) from None
    if not isinstance(parsed, list) or not all(_is_choice(choice) for choice in parsed):
        raise StreamFault(_shared.unusable("invalid_json"))
    return parsed


def _is_choice(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("delta"), dict | None)


def stream_error(body: bytes, target: Target) -> Fault:
    """An error object inside a 200. Its code tells what kind; nothing else of it is passed on."""
    fields = _shared.error_fields(body)
    words = f"{fields.get('code')} {fields.get('type')}".lower()
    if "rate_limit" in words or "429" in words:
        error = _shared.provider_error(429, None)
    elif "overloaded" in words or "503" in words or "529" in words:
        error = _shared.provider_error(503, None)
    else:
        error = ServiceError(502, "The provider failed while answering.", code="provider_error")
    return Fault("error_event", walk=True, error=error)


def _usage(raw: msgspec.Raw) -> Usage:
    try:
        return _shared.usage_of(_ANY.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return Usage()


def _is_error(members: Members) -> bool:
    """An error instead of an answer: nested as OpenAI's, or flat as of vLLM before 0.10.1."""
    return _truthy(members.get("error")) or bytes(members.get("object", b"")) == b'"error"'


def _truthy(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(raw) not in (_NULL, b"false", b'""', b"{}", b"[]", b"0")


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """``stream_options`` with ``include_usage`` on, its other members unchanged."""
    members = (
        msgspec.json.decode(options, type=dict[str, msgspec.Raw] | None) if options is not None else None
    )
    members = dict(members or {})
    members["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(members))
