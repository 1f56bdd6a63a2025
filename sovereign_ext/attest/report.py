"""What verifying a receipt starts from and comes to: trusted keys, steps, a report. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sovereign_ext.attest.rekor import RekorKey
from sovereign_ext.tlog.cosignature import CosignerKey
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.policyfile import LogPolicy


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys got on another way than the receipt.

    ``envelope`` and ``promise`` are SubjectPublicKeyInfo in DER. ``cosigners`` are log witnesses and mirrors, each of
    which must have signed; ``quorum`` says how many of its witnesses must. ``anchors`` are keys of external logs by
    the ids of the anchors, all of which must hold the tree. ``witnesses`` are the PEM public keys of scope witnesses
    by their ids.
    """

    log: Verifier | None = None
    envelope: bytes | None = None
    promise: bytes | None = None
    cosigners: Sequence[CosignerKey] = ()
    quorum: LogPolicy | None = None
    anchors: Mapping[str, RekorKey] = field(default_factory=dict)
    witnesses: Mapping[str, bytes] = field(default_factory=dict)


class Status(StrEnum):
    """What a step came to."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


class SkippedError(Exception):
    """A step does not apply, or lacks what it needs; the text says which."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step. ``detail`` is a clause for people: what was found, or why it failed or was skipped."""

    number: int
    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """All steps of one receipt. ``statement`` is the in-toto statement; empty if step 1 or 2 failed."""

    origin: str
    index: int
    checks: tuple[Check, ...]
    pinned: bool
    statement: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(check.status is not Status.FAILED for check in self.checks)
