"""Vertex AI: Gemini by ``generateContent`` and ``streamGenerateContent``, embeddings, and Claude as Vertex serves it.

Sources: Vertex AI's REST reference (v1), google-genai 3.4. The credential is an access token; how one comes from a
service account is the keystore's matter. ``endpoint`` is ``https://{location}-aiplatform.googleapis.com``; for the
location ``global`` without ``{location}-``, for ``us`` and ``eu`` ``https://aiplatform.{location}.rep.googleapis.com``.
It may end in the API's version.
Deliberately not here: Google's own OpenAI-compatible endpoint, which hides what the native one tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.openai.parameters import uses_functions
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import ReplyBody, completion
from sovereign_ext.providers.base import (
    Answer,
    Fault,
    StreamFault,
    StreamTranslator,
    Target,
    UpstreamRequest,
)
from sovereign_ext.providers.vertex_anthropic import VertexClaude, is_claude
from sovereign_ext.providers.vertex_embeddings import embed_answer, embed_call
from sovereign_ext.providers.vertex_place import google_of, place
from sovereign_ext.providers.vertex_reply import Telling, error_fault, response_id
from sovereign_ext.providers.vertex_request import SUPPORT, chat_body
from sovereign_ext.providers.vertex_stream import VertexStream

_PUBLISHER: Final = "google/"
_RESOURCE: Final = re.compile(rb"(projects/[^/\s\"]+/locations/[^/\s\"]+/)?publishers/[^/\s\"]+/models/")
_DELAY: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_RETRY_INFO: Final = "google.rpc.RetryInfo"


class VertexAdapter:
    """``kind: vertex``."""

    kind = ProviderKind.VERTEX
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})
    support = SUPPORT

    def __init__(self) -> None:
        self._claude = VertexClaude()

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        if _is_claude(target):
            return self._claude.request(request, target)
        model = target.deployment.upstream_model.removeprefix(_PUBLISHER)
        dropped: tuple[str, ...] = ()
        if request.endpoint is Endpoint.CHAT:
            body, dropped = chat_body(request, model)
            method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        else:
            method, body = embed_call(request, model)
        authority, path = place(target, "google", model, method)
        headers = _shared.base_headers("text/event-stream" if request.stream else "application/json")
        headers += _shared.bearer(target)
        return UpstreamRequest(path, authority, tuple(headers), msgspec.json.encode(body), dropped)

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        if _is_claude(target):
            return self._claude.answer(request, target, body, call_id=call_id)
        parsed = _object(body)
        if request.endpoint is Endpoint.EMBEDDINGS:
            return embed_answer(request, parsed)
        legacy = uses_functions(request.values)
        telling = Telling(
            lambda _: ReplyBody(request, legacy=legacy),
            call_id,
            choices_of(request),
            logprobs=wants_logprobs(request),
        )
        telling.count(parsed)
        for _ in telling.take(parsed):
            pass  # a gathered answer has no chunks
        if not telling.finished:
            raise StreamFault(_shared.unusable("invalid_answer"))
        choices = []
        for index, reply, reason in telling.ends():
            reply.finish(reason, telling.usage)
            choices.append(reply.choice(index))
        return completion(request, response_id(parsed, call_id), int(target.now_s), choices, telling.usage)

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        if _is_claude(target):
            return self._claude.stream(request, target, call_id=call_id, now_s=now_s, limit=limit)
        return VertexStream(
            request,
            call_id,
            now_s,
            limit,
            expected=choices_of(request),
            logprobs=wants_logprobs(request),
            legacy=uses_functions(request.values),
        )

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        body = _without_place(body, target)
        if _is_claude(target):
            return self._claude.fault(status, headers, body, target, now_s=now_s)
        delay = _retry_delay(body)
        if delay is not None and "retry-after" not in headers and "retry-after-ms" not in headers:
            headers = {**headers, "retry-after": delay}
        return _shared.status_fault(status, headers, body, target, now_s)


def choices_of(request: Request) -> int:
    """How many choices were asked for; the request has passed ``chat_body``."""
    wanted = request.values.get("n")
    return wanted if isinstance(wanted, int) and wanted > 1 else 1


def wants_logprobs(request: Request) -> bool:
    """Whether log probabilities were asked for."""
    return request.values.get("logprobs") is True


def _is_claude(target: Target) -> bool:
    return is_claude(target.deployment.upstream_model)


def _object(body: bytes) -> dict[str, Any]:
    """A 2xx body. Raises ``StreamFault`` if it is an error, in an array or not, or no object."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise StreamFault(_shared.unusable("invalid_json")) from None
    if isinstance(parsed, list) and parsed and isinstance(parsed[0], dict) and "error" in parsed[0]:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        raise StreamFault(_shared.unusable("invalid_json"))
    if "error" in parsed:
        raise StreamFault(error_fault(parsed["error"]))
    return parsed


def _retry_delay(body: bytes) -> str | None:
    """Seconds of ``google.rpc.RetryInfo`` in an error's details, as the text of a ``Retry-After``."""
    details = _shared.error_fields(body).get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type")).endswith(_RETRY_INFO):
            found = _DELAY.fullmatch(str(detail.get("retryDelay")))
            if found:
                return found[1]
    return None


def _without_place(body: bytes, target: Target) -> bytes:
    """An error body that does not tell our project: of a resource's name the model stays, and what names the project
    otherwise is not for the client at all."""
    named = _RESOURCE.sub(b"", body)
    return b"" if google_of(target).project.encode() in named else named
