"""Which documents an entry refers to, by digest, and what kinds of documents there are.

A statement names what its facts rest on as ``sha256:…`` of the bytes that were signed or received; the bytes are
kept beside the log (``storage.documents``) and come with the receipt. The documents of shadow policies are left
out: a shadow decides nothing. Values only; nothing is fetched or verified here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

POLICY: Final = "policy"
WITNESS_STATEMENT: Final = "witness-statement"
PROVIDER_STATEMENT: Final = "provider-statement"
DRIFT_REPORT: Final = "drift-report"
REVOCATION: Final = "revocation"
MANIFEST: Final = "manifest"
EVIDENCE: Final = "evidence"

KINDS: Final = (
    POLICY,
    WITNESS_STATEMENT,
    PROVIDER_STATEMENT,
    DRIFT_REPORT,
    REVOCATION,
    MANIFEST,
    EVIDENCE,
)
"""Policy documents are RFC 8785 JSON, the others as they were signed: DSSE envelopes, a Sigstore bundle, a token."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Document(Protocol):
    """``storage.documents.Document`` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> bytes: ...


def digest_of(body: bytes) -> str:
    """The name of a document: ``sha256:`` and the hex SHA-256 of its bytes."""
    return f"sha256:{sha256(body).hexdigest()}"


def referenced(predicate: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests that the predicate of a decision or outcome refers to, each once, in order.

    What has not the form of a digest, or of the member it should be in, is left out.
    """
    found = dict.fromkeys(_named(predicate))
    return tuple(name for name in found if isinstance(name, str) and _DIGEST.fullmatch(name))


def _named(predicate: Mapping[str, Any]) -> Iterator[Any]:
    yield predicate.get("policy_digest")
    for vouch in _objects(predicate.get("witnesses")):
        yield vouch.get("statement")
    yield from _strings(predicate.get("evidence_documents"))
    for candidate in _objects(predicate.get("candidates")):
        yield from _strings(candidate.get("documents"))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _strings(value: Any) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else iter(())
