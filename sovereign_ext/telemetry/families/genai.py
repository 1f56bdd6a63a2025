"""Names of OpenTelemetry's semantic conventions for generative AI, 1.37 and later, for what we call otherwise.

A dot of theirs is an underscore in Prometheus' names, and a unit in seconds a suffix.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import ProviderKind

_OPERATIONS: Final = {"chat.completions": "chat", "embeddings": "embeddings"}

_PROVIDERS: Final = {
    ProviderKind.BEDROCK.value: "aws.bedrock",
    ProviderKind.VERTEX.value: "gcp.vertex_ai",
}
"""``gen_ai.provider.name`` where it is not the kind's own name."""


def operation(endpoint: str) -> str:
    """``gen_ai.operation.name`` of an endpoint."""
    return _OPERATIONS.get(endpoint, endpoint)


def provider_name(kind: str) -> str:
    """``gen_ai.provider.name`` of a provider's kind."""
    return _PROVIDERS.get(kind, kind)
