"""Signed statements as resources: ``sovereign.management.v1.StatementService``.

A statement is verified when it is uploaded, by the registry itself: it is part of the configuration that is checked.
Those that the file names are shown beside. What one says is read from it; whether it counts is the registry's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from google.protobuf.message import Message

from sovereign_ext._gen.sovereign.management.v1 import trust_pb2
from sovereign_ext.config.model import InlineStatement
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import VerificationError
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.configured import DerivedName, DerivedService
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.rpc import Methods
from sovereign_ext.registry.envelope import read_envelope
from sovereign_ext.registry.registry import Registry
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    WitnessStatement,
    parse_statement,
)
from sovereign_ext.storage.resources import Resource

SERVICE: Final = trust_pb2.DESCRIPTOR.services_by_name["StatementService"]
_MANIFEST: Final = "manifest"
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999, as protobuf's timestamps end


class StatementKind(DerivedName[InlineStatement]):
    """``statements/{hex SHA-256 of the envelope}``."""

    noun = "statement"
    plural = "statements"
    pattern = "statements/{statement}"
    message = trust_pb2.Statement
    model: ClassVar = InlineStatement
    given = "envelope"

    def declared(self, snapshot: Snapshot) -> Mapping[str, InlineStatement]:
        """Those of the file, whether it names files or has them in it."""
        found = {}
        for digest, document in _documents(snapshot).items():
            name = f"statements/{digest.removeprefix('sha256:')}"
            if document.kind != _MANIFEST and name not in snapshot.stored:
                found[name] = InlineStatement(envelope=document.body.decode("utf-8", "replace"))
        return found


@dataclass(frozen=True, slots=True)
class _Said:
    kind: str
    signer: str
    model: str = ""
    start_s: int | None = None
    end_s: int | None = None


class StatementService(DerivedService[InlineStatement]):
    """Shows what a statement says, and what becomes of it."""

    def shown(self, caller: Caller, name: str, model: InlineStatement, row: Resource | None) -> Message:
        """A statement with the registry's verdict."""
        message: Any = super().shown(caller, name, model, row)
        message.envelope = model.envelope
        said, digest = _said(model.envelope), "sha256:" + name.removeprefix("statements/")
        if said is None:
            return message  # type: ignore[no-any-return]
        message.kind, message.signer, message.model = said.kind, said.signer, said.model
        for field, seconds in (("start_time", said.start_s), ("end_time", said.end_s)):
            if seconds is not None:
                getattr(message, field).FromSeconds(min(seconds, _LAST_SECOND))
        document = _documents(caller.snapshot).get(digest)
        message.verdict = self._verdict(said, known=document is not None)
        registry = caller.snapshot.trust
        if document is not None and isinstance(registry, Registry):
            told = [fault for fault in registry.warnings if fault.file == document.path]
            message.warnings.extend(f"{fault.field}: {fault.reason}".removeprefix(": ") for fault in told)
        return message  # type: ignore[no-any-return]

    def _verdict(self, said: _Said, *, known: bool) -> str:
        now_s = self.deps.now()
        if not known:
            return "pending"
        if said.start_s is not None and said.start_s > now_s:
            return "not_yet"
        return "expired" if said.end_s is not None and said.end_s <= now_s else "in_use"


def methods(deps: Deps) -> Methods:
    """The service's methods."""
    return StatementService(StatementKind, SERVICE, deps).methods()


def _documents(snapshot: Snapshot) -> Mapping[str, Any]:
    return snapshot.trust.documents if isinstance(snapshot.trust, Registry) else {}


def _said(envelope: str) -> _Said | None:
    try:
        statement = parse_statement(read_envelope(envelope.encode()).payload)
    except VerificationError:
        return None
    match statement:
        case WitnessStatement():
            return _Said(
                "witness-statement",
                statement.witness,
                statement.model,
                statement.not_before,
                statement.not_after,
            )
        case ProviderStatement():
            return _Said(
                "provider-statement",
                statement.provider,
                statement.model,
                statement.not_before,
                statement.not_after,
            )
        case DriftReport():
            end = statement.measured_at + statement.valid_for_s
            return _Said("drift-report", statement.observer, statement.model, statement.measured_at, end)
        case Revocation():
            return _Said("revocation", statement.by, start_s=statement.revoked_at)
