"""Changes: what somebody did to a resource through the management API, as entries of the log.

An entry says who, by which method, to what, and the digests of the resource before and after; the resource itself is
not in it, so no secret can be. A digest is SHA-256 over the RFC 8785 canonical JSON of the document that the API
shows, without its times and etag, and a reader who was given that document can check it. The in-toto Statement v1 is
made of strings and integers, as the others in ``statement``; what does not exist is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from sovereign_ext.canonical import canonical_json

CHANGE: Final = "urn:sovereign:change:v1"
CHANGE_KIND: Final = "change"
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_NOTHING: Final = sha256(b"").digest()

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it. ``subject`` is the API's name of an operator or a tenant (``operators/ops``), or the ``sub`` of an
    OIDC token, whose ``issuer`` is then given; ``key`` is the id of the key that was shown, never the key."""

    subject: str
    issuer: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ChangeFacts:
    """What a change entry says. ``method`` is the full name of the gRPC method, ``tenant`` the resource's owner or
    empty; ``before`` and ``after`` are digests (32 bytes), ``None`` where the resource was not or is not there;
    ``changed_ms`` is Unix milliseconds, ``reason`` what the caller gave as one, or empty."""

    change_id: str
    actor: Actor
    role: str
    method: str
    resource: str
    tenant: str
    before: bytes | None
    after: bytes | None
    changed_ms: int
    reason: str = ""


def document_digest(document: Mapping[str, Any]) -> bytes:
    """SHA-256 (32 bytes) over the canonical JSON of a resource as the API shows it."""
    return sha256(canonical_json(document)).digest()


def change_statement(facts: ChangeFacts) -> bytes:
    """The in-toto statement. Its subject is the resource as it is afterwards; of a deleted one, as it was."""
    actor = {"subject": facts.actor.subject, "issuer": facts.actor.issuer, "key": facts.actor.key}
    predicate: dict[str, Any] = {
        "change_id": facts.change_id,
        "actor": {name: value for name, value in actor.items() if value},
        "role": facts.role,
        "method": facts.method,
        "resource": facts.resource,
        "tenant": facts.tenant or None,
        "before": _digest(facts.before),
        "after": _digest(facts.after),
        "changed_ms": facts.changed_ms,
        "reason": facts.reason or None,
    }
    subject = facts.after or facts.before or _NOTHING
    return _encoder.encode(
        {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": facts.resource, "digest": {"sha256": subject.hex()}}],
            "predicateType": CHANGE,
            "predicate": {name: value for name, value in predicate.items() if value is not None},
        }
    )


def _digest(sha: bytes | None) -> str | None:
    return None if sha is None else f"sha256:{sha.hex()}"
