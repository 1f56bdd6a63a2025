"""Makes changes of resources, each together with its entry in the log: neither is there without the other.

What stands against a change when it is made (somebody was faster) becomes the answer that the caller gets. What a
resource means is its kind's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sovereign_ext.attest.changes import CHANGE_KIND, ChangeFacts, change_statement, document_digest
from sovereign_ext.attest.facts import Digests
from sovereign_ext.attest.statement import opening
from sovereign_ext.errors import (
    CallerError,
    InvalidFields,
    ReferenceMissing,
    ResourceChanged,
    ResourceError,
    ResourceExists,
    ResourceInUse,
    ResourceMissing,
)
from sovereign_ext.management.rpc import Call
from sovereign_ext.storage.resources import Write
from sovereign_ext.tlog.service import EntryDraft, Sequenced

_log = logging.getLogger(__name__)


class ChangeLog(Protocol):
    """The log, as far as changes go (``tlog.service.TransparencyLog``)."""

    async def change(self, draft: EntryDraft, write: Write) -> Sequenced:
        """Make both durable, or neither. Raises ``LogUnavailable`` and ``ResourceError``."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """``now_ms`` gives Unix milliseconds, ``random`` so many unguessable bytes."""

    log: ChangeLog
    now_ms: Callable[[], int]
    random: Callable[[int], bytes]

    async def make(
        self,
        call: Call,
        name: str,
        tenant: str,
        write: Write,
        *,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> int:
        """Do ``write`` and write down that the caller did; gives the new revision.

        ``before`` and ``after`` are the public documents, ``None`` where there is none; ``tenant`` owns the resource.
        Raises ``LogUnavailable`` and ``ResourceError`` (``answer`` makes answers of those).
        """
        facts = ChangeFacts(
            change_id=self.random(16).hex(),
            actor=call.caller.actor,
            role=call.caller.role.value,
            method=call.method,
            resource=name,
            tenant=tenant,
            before=None if before is None else document_digest(before),
            after=None if after is None else document_digest(after),
            changed_ms=self.now_ms(),
            reason=call.reason,
        )
        draft = EntryDraft(
            CHANGE_KIND, tenant, facts.change_id, change_statement(facts), opening(None, Digests())
        )
        placed = await self.log.change(draft, write)
        _log.info("%s by %s: %s is entry %d", call.method, facts.actor.subject, name, placed.index)
        return placed.index


def answer(error: ResourceError, missing: CallerError) -> CallerError:
    """What a caller is told of a change that cannot be made; ``missing`` is the kind's answer for what is not there."""
    if isinstance(error, ResourceExists):
        return CallerError(409, f"{error.name} exists already", code="already_exists")
    if isinstance(error, ResourceChanged):
        return CallerError(409, f"{error.name} is of another revision", code="etag_mismatch")
    if isinstance(error, ResourceInUse):
        return in_use(error.name, error.users)
    if isinstance(error, ReferenceMissing):
        return InvalidFields(error.fields)
    assert isinstance(error, ResourceMissing)
    return missing


def in_use(name: str, users: Sequence[str]) -> CallerError:
    """The answer to who would delete what others need."""
    return CallerError(400, f"{name} is in use by {', '.join(dict.fromkeys(users[:10]))}", code="in_use")
