"""Pieces that more than one adapter needs: endpoints, the status table, retry hints, safe messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from sovereign_ext.credentials import ProviderCredential
from sovereign_ext.errors import ApiError, CallerError, ServiceError
from sovereign_ext.providers.base import Fault, Target, Usage
from sovereign_ext.secret import Secret

USER_AGENT: Final = "sovereign-router"
_MAX_MESSAGE: Final = 1000  # characters of a provider's message that a client may see
_MAX_WORD: Final = 200  # characters of a code or a parameter's name
_MARKUP: Final = re.compile(r"<[!/]?[a-z][^<>]*>", re.IGNORECASE)
_TOO_LONG: Final = re.compile(
    r"context (length|window|limit)|(prompt|input) is too long|input token count\b.*\bexceeds", re.IGNORECASE
)
_MOST_TOKENS: Final = (1 << 53) - 1  # RFC 8259: beyond it readers of JSON disagree about a number
_MAX_RETRY_AFTER: Final = 3600.0  # seconds; beyond it a hint is not believable


def place(target: Target, path: str) -> tuple[str, str]:
    """``(authority, path)`` of an API path under the provider's endpoint."""
    parts = urlsplit(target.provider.endpoint)
    return parts.netloc, parts.path.rstrip("/") + path


def place_versioned(target: Target, version: str, path: str) -> tuple[str, str]:
    """``place`` of a path below an API version (``/v1``), which an endpoint may or may not end in."""
    given = urlsplit(target.provider.endpoint).path.rstrip("/").endswith(version)
    return place(target, path if given else version + path)


def base_headers(accept: str = "application/json") -> list[tuple[str, str]]:
    """Headers of every upstream request. Compression is refused because bodies are read on the way back."""
    return [
        ("content-type", "application/json"),
        ("accept", accept),
        ("accept-encoding", "identity"),
        ("user-agent", USER_AGENT),
    ]


def usage_of(usage: Any) -> Usage:
    """OpenAI's usage object as a value; anything that is not a non-negative integer counts as unsaid.

    So does a part that is more than its whole: what was read from a cache and what was written to one are disjoint
    parts of the prompt.
    """
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    of_prompt, of_completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = _part(of_prompt, "cached_tokens", prompt)
    rest = None if prompt is None else prompt - (cached or 0)
    return Usage(
        prompt,
        completion,
        cached_tokens=cached,
        cache_write_tokens=_part(of_prompt, "cache_write_tokens", rest),
        reasoning_tokens=_part(of_completion, "reasoning_tokens", completion),
    )


def _part(details: Any, name: str, whole: int | None) -> int | None:
    """A count that is part of ``whole``; ``None`` where there is no whole or it would be exceeded."""
    part = count(details.get(name)) if isinstance(details, dict) else None
    return part if part is not None and whole is not None and part <= whole else None


def count(value: Any) -> int | None:
    """A count of tokens as a provider told it; ``None`` if it is none, or more than a JSON number can hold exactly."""
    counts = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if counts else None


def unusable(outcome: str, message: str = "The provider's answer could not be used.") -> Fault:
    """An answer that breaks its own wire format: the provider's fault, another may do better."""
    return Fault(outcome, walk=True, error=ServiceError(502, message, code="bad_provider_response"))


def retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``Retry-After`` (RFC 9110 10.2.3: seconds or a date)."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        try:
            return _believable(float(milliseconds) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return _believable(float(value))
    except ValueError:
        pass
    try:
        return _believable(parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def _believable(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _MAX_RETRY_AFTER else None


def error_fields(body: bytes) -> dict[str, Any]:
    """``message``, ``type``, ``param``, ``code`` of a provider's error, nested (``{"error":{}}``) or flat."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def status_fault(status: int, headers: Mapping[str, str], body: bytes, target: Target, now_s: float) -> Fault:
    """The status table that every OpenAI-like provider shares."""
    if status in _CALLER:
        return Fault(f"status_{status}", walk=False, caller=True, error=_caller_error(status, body, target))
    wait = retry_after(headers, now_s)
    return Fault(f"status_{status}", walk=True, error=provider_error(status, wait))


_CALLER: Final = frozenset({400, 404, 405, 409, 413, 415, 422})


def _caller_error(status: int, body: bytes, target: Target) -> ApiError:
    fields = error_fields(body)
    message = safe_message(fields.get("message"), target)
    if status == 404:
        return CallerError(
            404, message or "The provider does not know this model or resource.", code="model_not_found"
        )
    too_long = message is not None and _TOO_LONG.search(message) is not None
    return CallerError(
        413 if status == 413 else 400,
        message or "The provider refused the request as invalid.",
        code="context_length_exceeded" if too_long else _word(fields.get("code"), target),
        param=_word(fields.get("param"), target),
    )


def provider_error(status: int, wait: float | None) -> ApiError:
    if status == 429:
        return ServiceError(
            429, "Every eligible provider is limiting its rate.", type="rate_limit_error",
            code="rate_limit_exceeded", retry_after_s=wait,
        )  # fmt: skip
    if status == 402:
        return ServiceError(
            429, "The provider account has no quota left.", type="insufficient_quota",
            code="insufficient_quota", retry=False,
        )  # fmt: skip
    if status in (401, 403):
        return ServiceError(
            502,
            "The provider did not accept the gateway's credential.",
            type="api_error",
            code="provider_auth_failed",
        )
    if status in (503, 529):
        return ServiceError(503, "The provider is overloaded.", code="overloaded", retry_after_s=wait)
    if status in (408, 504):
        return ServiceError(504, "The provider took too long.", code="provider_timeout", retry_after_s=wait)
    if status == 500:
        return ServiceError(500, "The provider failed.", code="provider_error", retry_after_s=wait)
    return ServiceError(502, "The provider failed.", code="provider_error", retry_after_s=wait)


def safe_message(message: Any, target: Target) -> str | None:
    """A provider's message about the caller's mistake, if nothing of ours is in it.

    Providers echo keys and hosts into messages; one that holds our credential, the endpoint's host or markup
    is withheld, because the caller could not act on it anyway.
    """
    if not isinstance(message, str) or not message.strip() or _MARKUP.search(message):
        return None
    host = urlsplit(target.provider.endpoint).hostname or ""
    if host and host in message:
        return None
    for secret in _texts(target.credential):
        if secret and (secret in message or secret[-4:] in message):
            return None
    named = message.replace(target.deployment.upstream_model, target.deployment.model)
    return named[:_MAX_MESSAGE]


def fitting_id(given: str, fits: re.Pattern[str]) -> str:
    """The id of a tool call, or one made of it where another provider's does not fit here: the same for a call and its
    result."""
    if fits.fullmatch(given):
        return given
    return "call_" + sha256(given.encode(errors="surrogatepass")).hexdigest()[:32]


def bearer(target: Target) -> tuple[tuple[str, str], ...]:
    """The ``authorization`` header of a bearer credential; none where the provider needs none.

    Raises ``TypeError`` for AWS keys: only an adapter that signs may be given those.
    """
    return api_key(target, "authorization", "Bearer ")


def api_key(target: Target, header: str, prefix: str = "") -> tuple[tuple[str, str], ...]:
    """``bearer`` under another header's name, behind ``prefix``."""
    if target.credential is None:
        return ()
    if not isinstance(target.credential, Secret):
        raise TypeError(f"a provider of kind {target.provider.kind} takes a bearer credential")
    return ((header, prefix + target.credential.reveal()),)


def _texts(credential: ProviderCredential | None) -> tuple[str, ...]:
    """Everything in a credential that a message must not hold."""
    if credential is None:
        return ()
    if isinstance(credential, Secret):
        return (credential.reveal(),)
    token = credential.session_token
    return (
        credential.access_key_id,
        credential.secret_access_key.reveal(),
        *(() if token is None else (token.reveal(),)),
    )


def _word(value: Any, target: Target) -> str | None:
    """A provider's code or parameter name, under the rules of ``safe_message``."""
    return safe_message(value, target) if isinstance(value, str) and len(value) <= _MAX_WORD else None
