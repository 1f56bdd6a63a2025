"""Anthropic's Messages API: ``/v1/messages``, JSON and server-sent events.

Source: Anthropic's API reference and its SDK's types (2.12). ``anthropic-version`` is 2023-06-01: with 2026-10-21, that
the SDK sends since 2.0, no model takes temperature, top_p or top_k. That is all it would change here, and both versions
are in force. Requests are translated in ``anthropic_request``, answers in ``anthropic_reply`` and ``anthropic_stream``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.parameters import uses_functions
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import IMITATED, ReplyBody
from sovereign_ext.providers.anthropic_reply import error_answer, error_inside, parse, tell
from sovereign_ext.providers.anthropic_request import SUPPORT, Wire, imitates, messages_body
from sovereign_ext.providers.anthropic_stream import AnthropicStream
from sovereign_ext.providers.base import Answer, Fault, StreamTranslator, Target, UpstreamRequest

VERSION: Final = "2023-06-01"


class AnthropicAdapter:
    """``kind: anthropic``."""

    kind = ProviderKind.ANTHROPIC
    capabilities = frozenset({Capability.CHAT})
    support = SUPPORT

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        chat_only(request)
        model = target.deployment.upstream_model
        body, dropped = messages_body(request, model, Wire())
        place = _shared.place_versioned(target, "/v1", "/messages")
        headers = (("anthropic-version", VERSION), *_shared.api_key(target, "x-api-key"))
        return upstream(request, place, {"model": model} | body, dropped, headers)

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        return whole_answer(request, target, body, call_id)

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        return streamed_answer(request, target, call_id, now_s, limit)

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        return error_answer(status, headers, body, target, now_s)


def chat_only(request: Request) -> None:
    """Claude does not embed. Raises ``CallerError``."""
    if request.endpoint is not Endpoint.CHAT:
        raise CallerError(
            400, "This model's provider does not embed with it.", param="model", code="unsupported_value"
        )


def upstream(
    request: Request,
    place: tuple[str, str],
    body: dict[str, object],
    dropped: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
) -> UpstreamRequest:
    """What to send to ``place`` (authority and path), with ``stream`` and the headers that every request has."""
    if request.stream:
        body["stream"] = True
    base = _shared.base_headers("text/event-stream" if request.stream else "application/json")
    authority, path = place
    return UpstreamRequest(path, authority, (*base, *headers), msgspec.json.encode(body), dropped)


def whole_answer(request: Request, target: Target, body: bytes, call_id: str) -> Answer:
    """See ``Adapter.answer``."""
    parsed = parse(body)
    if parsed.get("type") == "error" or "error" in parsed:
        raise error_inside(parsed)
    reply = ReplyBody(request, _imitated(request, target), legacy=uses_functions(request.values))
    id_, _ = tell(reply, parsed, request.model, len(body))
    return reply.answer(id_ or f"chatcmpl-{call_id}", int(target.now_s))


def streamed_answer(
    request: Request, target: Target, call_id: str, now_s: int, limit: int
) -> AnthropicStream:
    """See ``Adapter.stream``."""
    return AnthropicStream(
        request, call_id, now_s, limit,
        imitated=_imitated(request, target), legacy=uses_functions(request.values),
    )  # fmt: skip


def _imitated(request: Request, target: Target) -> str | None:
    return IMITATED if imitates(request, target.deployment.upstream_model) else None
