"""Values that labels may have: each is of a closed set, whatever a client or a provider sends.

A label with free values is a way to fill the memory of this process and of Prometheus, and to smuggle text into a place
that nobody protects like a log. So codes and outcomes are those of docs/reference/errors.md, names those of the
configuration, and of names at most ``MOST_NAMES``: further ones share ``OTHER``.
"""

from __future__ import annotations

from typing import Final

OTHER: Final = "other"
NONE: Final = ""
"""As a label's value the same to Prometheus as no label."""

MOST_NAMES: Final = 1_000
"""Different names of one sort (tenants, say) that one process counts apart."""

_CODES: Final = """
admin_key_not_allowed bad_provider_response call_lost client_disconnected concurrency_limit_exceeded
context_length_exceeded credential_detected credential_unavailable ended_without_answer exchange_lost expired_api_key
identity_mismatch insufficient_quota internal_error invalid_api_key invalid_image_url invalid_json invalid_type
invalid_value limits_unavailable log_unavailable media_unavailable method_not_allowed missing_required_parameter
model_not_found no_eligible_deployment no_healthy_deployment no_longer_eligible overloaded policy_not_allowed
price_unknown provider_auth_failed provider_disconnected provider_error provider_timeout provider_unreachable
providers_exhausted rate_limit_exceeded request_not_scannable request_too_large revoked_api_key spend_cap_exceeded
tier_not_observed unknown_parameter unknown_url unsupported_content_encoding unsupported_content_type
unsupported_parameter unsupported_value
"""

CODES: Final = frozenset(_CODES.split())
"""Codes of errors that the gateway answers or writes down. A provider's own codes are ``OTHER``."""

_OUTCOMES: Final = """
answer_too_large bad_encoding bad_frame client_gone connect_failure connect_timeout credential_damaged
credential_denied credential_missing credential_throttled credential_timeout credential_unavailable
credential_unreachable cut error_event event_too_large first_byte_timeout idle_timeout invalid_answer invalid_json
latency_cap malformed_answer no_answer no_content no_longer_eligible ok protocol_error refused reset
tier_not_observed tls_failure total_timeout unknown_encoding wrong_content_type
"""

OUTCOMES: Final = frozenset(_OUTCOMES.split())
"""What an attempt may have come to, beside ``status_…``."""

_STATUSES: Final = frozenset(f"status_{number}" for number in range(100, 600))
_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


def code(found: str | None) -> str:
    """An error's code; empty where there is no error."""
    if not found:
        return NONE
    return found if found in CODES else OTHER


def outcome(found: str) -> str:
    """An attempt's outcome."""
    return found if found in OUTCOMES or found in _STATUSES else OTHER


def status_class(status: int) -> str:
    """``2xx``, … of an HTTP status; ``none`` where the client was given none."""
    return _CLASSES[status // 100] if 100 <= status < 600 else "none"


class Names:
    """The first ``most`` names of one sort by themselves, all others as ``OTHER``.

    Keeps memory bounded where names are the operator's but come and go, as tenants do.
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """What stands for ``name``."""
        if name in self._known:
            return name
        if not name:
            return NONE
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
