"""Entries of calls that are over: from their facts to what the log is given, and of calls that were lost.

One place for both, so that a lost call is written down, counted and billed as any other.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from sovereign_ext.attest import dsse
from sovereign_ext.attest.facts import CallFacts
from sovereign_ext.attest.statement import opening, outcome_predicate, outcome_saying
from sovereign_ext.errors import LogConflict
from sovereign_ext.exchange.lost import decode
from sovereign_ext.metering.rows import OUTCOME_KIND, usage_row
from sovereign_ext.tenants.ledger import Used
from sovereign_ext.tlog.service import EntryDraft, TransparencyLog

_log = logging.getLogger(__name__)

_DECISION_KIND: Final = "decision"


def outcome_draft(facts: CallFacts, key: bytes, log: TransparencyLog) -> tuple[dict[str, Any], EntryDraft]:
    """The outcome's predicate and its entry to be. ``key`` is the secret behind the call's commitments."""
    mirror = max(log.acks(), key=lambda ack: ack.time_s, default=None)
    predicate = outcome_predicate(facts, mirror)
    return predicate, EntryDraft(
        kind=OUTCOME_KIND,
        tenant=facts.tenant,
        decision_id=facts.decision_id,
        statement=outcome_saying(facts.digests, predicate),
        opening=opening(key, facts.digests),
        usage=usage_row(predicate),
    )


async def record_lost(log: TransparencyLog, lost: bytes, now_ms: int) -> Used:
    """See to it that a call that nobody settled has its outcome, and say what it is to be settled with.

    ``lost`` is what ``exchange.lost`` kept of it. If it has an outcome, that one holds; else one is written that says
    so, billed at the estimate. May be asked for the same call by several, and again. Raises ``ValueError`` for what
    cannot be read, ``LogUnavailable``.
    """
    call = decode(lost)
    decision_id = call.facts.decision_id
    found = await log.find(decision_id, OUTCOME_KIND)
    if found is None:
        decision = await log.find(decision_id, _DECISION_KIND)
        call = call.ended(now_ms, None if decision is None else decision.index)
        try:
            await log.append(outcome_draft(call.facts, call.key, log)[1])
        except LogConflict:  # somebody was faster
            found = await log.find(decision_id, OUTCOME_KIND)
        else:
            _log.warning("%s was lost and is billed at its estimate", decision_id)
    if found is None:
        return Used(None, None, call.facts.billed_nano_usd)
    predicate = msgspec.json.decode(dsse.parse(found.envelope).payload)["predicate"]
    return Used(
        predicate.get("prompt_tokens"),
        predicate.get("completion_tokens"),
        predicate.get("billed_nano_usd", 0),
    )
