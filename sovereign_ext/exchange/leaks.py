"""Credentials in a request: what is done about them, and what the log is told.

Nothing here holds a credential longer than it takes to make its fingerprint.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from sovereign_ext.attest.commit import REDACTED_REQUEST
from sovereign_ext.attest.facts import FindingFacts, FoundFact
from sovereign_ext.config.model import LeakAction, Policy
from sovereign_ext.errors import CallerError
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.openai.request import Request, read_request
from sovereign_ext.scanner.effort import Effort, NotScannable
from sovereign_ext.scanner.scan import Finding, Scan, Scanner
from sovereign_ext.scanner.selection import select

MOST_TOLD: Final = 100
"""Places that an entry tells of one by one."""

_LONGEST_POINTER: Final = 200

_MOST_NAMED: Final = 10
"""Places that an error names."""

DONE: Final = {
    LeakAction.REDACT: "redacted",
    LeakAction.BLOCK: "blocked",
    LeakAction.OBSERVE: "observed",
}
"""What an action has done to a request, as entries and metrics say it."""

Fingerprint = Callable[[str, bytes], str]
"""``fingerprint(tenant, credential)``: what tells that a tenant's credential was seen before, and nothing else."""


def fingerprints(keyed: Callable[[bytes], bytes]) -> Fingerprint:
    """HMAC-SHA256 under a key of each tenant, in hex. ``keyed`` gives 32 bytes for a name, under a secret."""

    @lru_cache(maxsize=1024)
    def key_of(tenant: str) -> bytes:
        return keyed(b"credential fingerprint\0" + tenant.encode())

    return lambda tenant, credential: hmac.digest(key_of(tenant), credential, "sha256").hex()


@lru_cache(maxsize=64)
def scanner_of(detect: tuple[str, ...], ignore: tuple[str, ...]) -> Scanner:
    """The scanner that policies ask for. Takes tenths of a second the first time. Any thread may call it."""
    return Scanner(select(detect, ignore))


def scan(policy: Policy, body: bytes, effort: Effort | None = None) -> Scan:
    """What ``policy`` looks for in ``body``.

    Raises ``CallerError`` 400 ``request_not_scannable`` for a body that is made to be slow, whatever the policy's
    action: a request of which nobody knows what it holds is not sent, and an entry that tells of no findings says that
    there are none. ``CalledOff`` goes through.
    """
    try:
        return scanner_of(policy.redaction.detect, policy.redaction.ignore).scan(body, effort)
    except NotScannable:
        raise CallerError(
            400,
            "The request cannot be scanned: too much of it looks like the beginning of a credential and is none.",
            code="request_not_scannable",
        ) from None


def prepare_scanners(policies: Iterable[Policy]) -> None:
    """Make the scanners of these policies, so that no call has to wait for one."""
    for policy in policies:
        scanner_of(policy.redaction.detect, policy.redaction.ignore)


def told(
    exchange: Exchange, policy: Policy, scanned: Scan, fingerprint: Fingerprint, now: Moment
) -> FindingFacts:
    """What the log is to be told of a scan that found something, before anybody is answered or sent anything."""
    tenant = exchange.identity.tenant.id
    assert exchange.client_request is not None
    if policy.redaction.action is LeakAction.REDACT:
        commitment = exchange.commitment(REDACTED_REQUEST)
        commitment.update(scanned.body)
        exchange.redacted_request = commitment.digest()
    return FindingFacts(
        decision_id=exchange.decision_id,
        tenant=tenant,
        key=exchange.identity.key_id,
        policy=policy.id,
        policy_digest=exchange.snapshot.policy_digests[policy.id],
        action=DONE[policy.redaction.action],
        count=len(scanned.findings),
        found=tuple(_fact(each, tenant, fingerprint) for each in scanned.findings[:MOST_TOLD]),
        found_ms=now.wall_ms,
        client_request=exchange.client_request,
        redacted_request=exchange.redacted_request,
    )


def allowed(policy: Policy, request: Request, scanned: Scan) -> Request:
    """The request that may go on. Raises ``CallerError`` 400 ``credential_detected`` where the policy blocks it."""
    if not scanned.findings:
        return request
    if policy.redaction.action is LeakAction.BLOCK:
        raise _refusal(scanned.findings)
    redacted = read_request(request.endpoint, scanned.body)
    if policy.redaction.action is LeakAction.OBSERVE and redacted.model == request.model:
        return request
    return redacted  # the name of a model is written down and told, even if it is no model's


def _fact(found: Finding, tenant: str, fingerprint: Fingerprint) -> FoundFact:
    return FoundFact(
        found.kind,
        found.version,
        _cut(found.pointer),
        found.length,
        found.number,
        fingerprint(tenant, found.secret.reveal().encode("utf-8", "surrogateescape")),
    )


def _cut(pointer: str) -> str:
    """Names of members are the client's, and may be of any length."""
    return pointer if len(pointer) <= _LONGEST_POINTER else pointer[:_LONGEST_POINTER] + "…"


def _refusal(findings: tuple[Finding, ...]) -> CallerError:
    """Names kinds and places, never values."""
    kinds = ", ".join(
        f"{kind} ({count})" if count > 1 else kind
        for kind, count in Counter(each.kind for each in findings).items()
    )
    places = list(dict.fromkeys(_cut(each.pointer) for each in findings))
    more = f" and {len(places) - _MOST_NAMED} more places" if len(places) > _MOST_NAMED else ""
    return CallerError(
        400,
        f"The request holds credentials, and the policy forbids that: {kinds}, "
        f"at {', '.join(places[:_MOST_NAMED])}{more}.",
        code="credential_detected",
        param=places[0],
    )
