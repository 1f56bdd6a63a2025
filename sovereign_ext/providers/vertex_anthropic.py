"""Claude on Vertex AI: Anthropic's Messages API behind ``rawPredict`` and ``streamRawPredict``.

Sources: Vertex AI's REST reference (v1), Anthropic's documentation of Claude on Google Cloud. The model is named in the
path and not in the body, which says ``anthropic_version`` instead of a header; the credential is Google's. Vertex wants
the body's length, which Envoy gives. The older ``vertex-2023-10-16`` is sent for the reason that ``anthropic`` gives.
Pictures are not fetched for us, and there are no service tiers.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.openai.request import Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers.anthropic import AnthropicAdapter, chat_only, upstream
from sovereign_ext.providers.anthropic_request import Wire, messages_body
from sovereign_ext.providers.base import Target, UpstreamRequest
from sovereign_ext.providers.vertex_place import place

VERSION: Final = "vertex-2023-10-16"
_PUBLISHER: Final = "anthropic/"


def is_claude(model: str) -> bool:
    """Whether a deployment's ``upstream_model`` is one of Anthropic's: ``claude-…``, ``anthropic/…``."""
    return model.startswith(("claude-", _PUBLISHER))


class VertexClaude(AnthropicAdapter):
    """What ``kind: vertex`` does for the models of ``is_claude``: an ``Adapter`` but for its registry entry.

    Answers are Anthropic's; errors too, or Google's where the call did not get to Claude.
    """

    kind = ProviderKind.VERTEX

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        """See ``Adapter.request``."""
        chat_only(request)
        model = target.deployment.upstream_model.removeprefix(_PUBLISHER)
        body, dropped = messages_body(request, model, Wire(by_url=False, tiers=False))
        method = "streamRawPredict" if request.stream else "rawPredict"
        where = place(target, "anthropic", model, method)
        named = {"anthropic_version": VERSION} | body
        return upstream(request, where, named, dropped, _shared.bearer(target))
