"""Amazon Bedrock's runtime: Converse and ConverseStream for chat, InvokeModel for embeddings.

Sources: botocore's service model of Bedrock's runtime (1.44) and the Bedrock user guide. A call is authorised with a
signature (SigV4, service ``bedrock``) or with a Bedrock API key as a bearer token. Requests are translated in
``bedrock_request`` and ``bedrock_embeddings``, answers in ``bedrock_reply``; here is where they go, who signs, and
what refusals mean. Batches, agents and AWS's other inference APIs are not spoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.openai.conversation import Image
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._images import images_by_url
from sovereign_ext.providers.base import Answer, Fault, StreamTranslator, Target, UpstreamRequest
from sovereign_ext.providers.bedrock_embeddings import embed_answer, embed_body
from sovereign_ext.providers.bedrock_reply import BedrockStream, answer_of, object_of, refusal_of, status_of
from sovereign_ext.providers.bedrock_request import SUPPORT, converse_body
from sovereign_ext.sigv4 import sign

_SERVICE: Final = "bedrock"
_EVENT_STREAM: Final = "application/vnd.amazon.eventstream"
_ERROR_TYPE: Final = "x-amzn-errortype"


class BedrockAdapter:
    """``kind: bedrock``."""

    kind = ProviderKind.BEDROCK
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})
    support = SUPPORT

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        model, dropped = target.deployment.upstream_model, tuple[str, ...]()
        if request.endpoint is Endpoint.CHAT:
            body, dropped = converse_body(request, model, target.media)
            operation = "converse-stream" if request.stream else "converse"
        else:
            body, operation = embed_body(request, model), "invoke"
        encoded = msgspec.json.encode(body)
        authority, path = _shared.place(target, f"/model/{quote(model, safe='')}/{operation}")
        headers = _shared.base_headers(_EVENT_STREAM if request.stream else "application/json")
        headers += _authorised(target, authority, path, headers, encoded)
        return UpstreamRequest(path, authority, tuple(headers), encoded, dropped)

    def wanted_media(self, request: Request) -> tuple[Image, ...]:
        return images_by_url(request)

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        if request.endpoint is Endpoint.EMBEDDINGS:
            return embed_answer(request, target.deployment.upstream_model, object_of(body))
        return answer_of(request, target, body, call_id)

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        return BedrockStream(request, target, call_id, now_s, limit)

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        """By the error's name where it says more than the status: a quota that is used up comes as a 400."""
        name = headers.get(_ERROR_TYPE, "").partition(":")[0].rpartition("#")[2]
        meant = status_of(name) or status
        return refusal_of(meant, headers, body, target, now_s=now_s, outcome=f"status_{status}")


def _authorised(
    target: Target, authority: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[tuple[str, str], ...]:
    """The headers that authorise the call: the last thing done to it, because the signature covers body and path."""
    if not isinstance(target.credential, AwsKeys):
        return _shared.bearer(target)
    if target.provider.aws is None:
        raise TypeError("a provider of kind bedrock that is called with AWS keys needs aws.region")
    return sign(
        "POST", authority, path, "", headers, body, target.credential,
        region=target.provider.aws.region, service=_SERVICE, now_s=target.now_s,
    )  # fmt: skip
