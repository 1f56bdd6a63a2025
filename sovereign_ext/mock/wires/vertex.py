"""Vertex AI: Gemini (``generateContent``, ``streamGenerateContent``), embeddings, Claude, and the OAuth token
endpoint.

Streams are server-sent events with ``alt=sse`` and one JSON array without. As on Vertex, an error inside an
SSE stream is pretty-printed JSON on bare lines, Gemini 3 refuses a replayed function call without its
``thoughtSignature``, and Claude refuses chunked request bodies. Tokens are handed out for any well-formed
JWT; its signature is not checked, and neither are bearer tokens.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.reply import Call, Event, Failure, Identity, Reply, Stage, encode, json_reply
from sovereign_ext.mock.wires.anthropic import AnthropicMessages
from sovereign_ext.mock.wires.base import json_object, required
from sovereign_ext.mock.wires.vertex_embeddings import batch_embed_contents, embed_content, predict
from sovereign_ext.mock.wires.vertex_gemini import check, generate
from sovereign_ext.mock.wires.vertex_names import camel_case
from sovereign_ext.mock.wires.vertex_token import grant

_PATH = re.compile(
    r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/(google|anthropic)/models/([^/:]+):([A-Za-z]+)"
)
_GOOGLE = ("generateContent", "streamGenerateContent", "predict", "embedContent", "batchEmbedContents")
_ANTHROPIC = ("rawPredict", "streamRawPredict")
_CLAUDE_VERSION = re.compile(r"vertex-2023-10-16|\d{4}-\d\d-\d\d")
"""Google documents the first; Anthropic's SDK 2.12 sends the date of its own API version instead."""
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_HEADERS = (("server", "scaffolding on HTTPServer2"), ("x-frame-options", "SAMEORIGIN"))


class Vertex:
    """Vertex AI in one location, with Google's token endpoint on ``/token``."""

    kind = "vertex"
    default_models = ()

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models
        self._claude = AnthropicMessages()

    def read(self, request: Request) -> Call:
        """See ``Wire.read``."""
        if request.path == "/token":
            return _token_call(request)
        found = _PATH.fullmatch(request.path)
        if found is None or found[3] not in (_GOOGLE if found[1] == "google" else _ANTHROPIC):
            raise CallerError(404, f"The requested URL {request.path} was not found on this server.")
        if request.method != "POST":
            raise CallerError(404, f"The requested URL {request.path} was not found on this server.")
        op, model = found[3], unquote(found[2])
        if found[1] == "anthropic":
            return self._claude_call(request, op, model)
        body = camel_case(json_object(request))
        if op in ("generateContent", "streamGenerateContent"):
            check(model, body)
        layout = parse_qs(request.query).get("alt", [""])[0]
        return Call(op, model, body, stream=op == "streamGenerateContent", detail=layout)

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        match call.op:
            case "token":
                return grant(call.body, identity)
            case "predict":
                return predict(call.body, shape, _HEADERS)
            case "embedContent":
                return embed_content(call.body, shape, _HEADERS)
            case "batchEmbedContents":
                return batch_embed_contents(call.body, shape, _HEADERS)
            case "rawPredict" | "streamRawPredict":
                return self._claude.chat(call.model, call.body, shape, identity, _HEADERS)
            case _:
                return generate(call, shape, identity, _HEADERS)

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``: Anthropic's body for Claude, an array for the JSON-array stream."""
        if call is not None and call.op in _ANTHROPIC:
            return json_reply(self._claude.error(failure, identity), _HEADERS, failure.status)
        error = _error(failure)
        array = call is not None and call.stream and call.detail != "sse"
        return json_reply([error] if array else error, _HEADERS, failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``."""
        if call.op in _ANTHROPIC:
            return Event(Stage.FAILURE, encode(self._claude.error(failure, identity)), "error")
        pretty = msgspec.json.format(encode(_error(failure)), indent=2)
        return Event(Stage.FAILURE, pretty + b"\n\n", raw=True)

    def _claude_call(self, request: Request, op: str, model: str) -> Call:
        if request.chunked:
            raise CallerError(411, "Length Required: POST requests require a Content-length header.")
        body = json_object(request)
        if not _CLAUDE_VERSION.fullmatch(required(body, "anthropic_version", str)):
            raise CallerError(400, "anthropic_version: expected 'vertex-2023-10-16' or a date")
        if "model" in body:
            raise CallerError(400, "model: Extra inputs are not permitted")
        self._claude.check(body)
        return Call(op, model, body, stream=body.get("stream") is True)


def _error(failure: Failure) -> dict[str, Any]:
    usual = "INTERNAL" if failure.status >= 500 else _STATUS[400]
    return {
        "error": {
            "code": failure.status,
            "message": failure.message or f"The mock was told to answer {failure.status}.",
            "status": failure.type or _STATUS.get(failure.status, usual),
        }
    }


def _token_call(request: Request) -> Call:
    if request.method != "POST":
        raise CallerError(404, "The requested URL /token was not found on this server.")
    form = parse_qs(request.body.decode("latin-1"))
    return Call("token", "", {name: values[0] for name, values in form.items()})
