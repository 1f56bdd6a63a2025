"""Why a provider gave no answer at all, as outcomes of an attempt: Envoy's response code details, and the keystore's
reasons for having no credential.

Source: Envoy's response code details (``StreamInfo::ResponseCodeDetails``), as seen from 1.40.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.errors import ApiError, ServiceError
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError

_TIMEOUTS: Final = ("upstream_per_try_timeout", "response_timeout", "upstream_response_timeout")


def explain(details: str, transport_reason: str) -> tuple[str, ApiError]:
    """The outcome's reason code and what a client may be told. Nothing of Envoy's text goes out."""
    text = f"{details} {transport_reason}".lower()
    if details.startswith(_TIMEOUTS):
        return "first_byte_timeout", ServiceError(504, "The provider took too long.", code="provider_timeout")
    if details.startswith("upstream_max_stream_duration"):
        return "total_timeout", ServiceError(504, "The provider took too long.", code="provider_timeout")
    unreachable = ServiceError(502, "The provider could not be reached.", code="provider_unreachable")
    if "tls" in text or "certificate" in text:
        return "tls_failure", unreachable
    if "connection_timeout" in text or "connect timeout" in text:
        return "connect_timeout", unreachable
    if "connection_failure" in text or "delayed_connect" in text or "no_healthy_upstream" in text:
        return "connect_failure", unreachable
    broken = ServiceError(502, "The provider broke off the connection.", code="provider_disconnected")
    if "protocol_error" in text:
        return "protocol_error", broken
    if "reset" in text or "termination" in text:
        return "reset", broken
    return "no_answer", broken


def explain_keyless(failure: CredentialMissingError | CredentialUnavailableError) -> tuple[str, ApiError]:
    """The outcome's reason code and what a client may be told, where we have no credential. No source is named."""
    if isinstance(failure, CredentialMissingError):
        return "credential_missing", ServiceError(
            502,
            "The gateway has no credential for the provider.",
            type="api_error",
            code="provider_auth_failed",
        )
    unavailable = ServiceError(
        503, "The gateway could not get at its credential for the provider.", code="credential_unavailable"
    )
    if failure.reason == "denied":
        return "credential_denied", unavailable
    if failure.reason == "throttled":
        return "credential_throttled", unavailable
    if failure.reason == "unreachable":
        return "credential_unreachable", unavailable
    if failure.reason == "timeout":
        return "credential_timeout", unavailable
    if failure.reason == "damaged":
        return "credential_damaged", unavailable
    return "credential_unavailable", unavailable
