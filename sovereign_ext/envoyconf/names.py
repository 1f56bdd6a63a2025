"""Names that the Envoy configuration and the processor must agree on, in one place."""

from __future__ import annotations

import hashlib
from typing import Final

from sovereign_ext.config.model import Provider

METADATA: Final = "sovereign"
"""Dynamic metadata namespace of the router stream (``decision_id``)."""

PLAN_METADATA: Final = "sovereign_plan"
"""Namespace that the priority_group specifier reads ``priority_groups`` from."""

ATTEMPT_METADATA: Final = "sovereign_attempt"
"""Namespace of the attempt stream (``content_length``)."""

PHASE: Final = "sf-phase"
"""gRPC initial metadata that tells the processor which of its two filters is calling."""
PHASE_EXCHANGE: Final = "exchange"
PHASE_ATTEMPT: Final = "attempt"

TARGET_HEADER: Final = "x-sf-target"
"""Set by the entry cluster on the internal hop, in an older Envoy by the processor: which provider cluster this attempt
is for."""

EXCHANGE_HEADER: Final = "x-sf-exchange"
"""Set by the processor on the way to the internal hop: the decision id, by which an attempt finds its exchange. Not
the request id, which a client inside a mesh may choose."""

WORKER_HEADER: Final = "x-sf-worker"
"""Set beside it where several workers share an Envoy: which of them has the exchange, from 1."""

MODE_HEADER: Final = "x-sf-mode"
"""Set by the processor on the internal hop: ``stream`` or ``json``; picks the first-byte limit."""

WALK_HEADER: Final = "x-sf-walk"
"""Set on an attempt's response: take the next element. Never reaches a client."""

DETAILS_PREFIX: Final = "sovereign_"
"""Response code details of our own immediate responses, so that local-reply mapping leaves them alone."""

DETAILS: Final = "response.code_details"
FAILURE_REASON: Final = "upstream.transport_failure_reason"
PEER_CERTIFICATE: Final = "upstream.sha256_peer_certificate_digest"
PEER_URI_SAN: Final = "upstream.uri_san_peer_certificate"
PEER_TLS: Final = "upstream.tls_version"
"""Attributes of the answering connection that an attempt's response headers come with."""


def worker_cluster(number: int) -> str:
    """The cluster of one worker alone, counted from 1."""
    return f"processor.{number}"


def provider_cluster(provider: Provider) -> str:
    """The cluster of a provider. A changed endpoint or limit makes a new cluster, so that streams on the old
    one finish undisturbed."""
    digest = hashlib.sha256(provider.model_dump_json().encode()).hexdigest()[:10]
    return f"provider.{provider.id}.{digest}"


def entry_cluster(provider: Provider) -> str:
    """The element of the fallback walk that leads to the provider's cluster."""
    return "entry." + provider_cluster(provider).removeprefix("provider.")


def led_to(entry: str) -> str:
    """The provider's cluster that an entry cluster leads to."""
    return "provider." + entry.removeprefix("entry.")
