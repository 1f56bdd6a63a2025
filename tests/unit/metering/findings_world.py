"""Finding entries as the gateway writes them, without a gateway: facts made at random, signed rows."""

from __future__ import annotations

import random
from hashlib import sha256
from itertools import count
from typing import Any

from metering_world import NOVEMBER_MS, sealed

from sovereign_ext.attest.facts import FindingFacts, FoundFact
from sovereign_ext.attest.statement import finding_statement
from sovereign_ext.metering.findings import FINDING_KIND, finding_rows
from sovereign_ext.storage.entries import Row

KINDS = ("aws-access-key", "aws-secret-key", "github-token", "jwt", "of-the-future")
_serial = count()


def found(kind: str = "github-token", secret: str = "s", **changes: Any) -> FoundFact:
    """One place of a credential."""
    fields = {"pointer": "/messages/0/content", "version": 1, "length": 40, "number": 1, **changes}
    return FoundFact(kind=kind, fingerprint=sha256(secret.encode()).hexdigest(), **fields)


def facts(*places: FoundFact, **changes: Any) -> FindingFacts:
    """A call of acme's in which these places were redacted."""
    number = next(_serial)
    fields: dict[str, Any] = {
        "decision_id": f"dec-{number:032x}",
        "tenant": "acme",
        "key": "ci",
        "policy": "standard",
        "policy_digest": bytes(32),
        "action": "redacted",
        "count": len(places),
        "found_ms": NOVEMBER_MS + number,
        "client_request": bytes(32),
        **changes,
    }
    return FindingFacts(found=places, **fields)


def finding(said: FindingFacts, *, told: bool = True) -> Row:
    """Its signed row; without ``told`` as one from before there was a table of places."""
    seal = sealed(finding_statement(said))
    return Row(
        FINDING_KIND, said.tenant, said.decision_id, said.found_ms, seal.body, seal.leaf_hash, seal.envelope,
        b"{}", findings=finding_rows(said) if told else (),
    )  # fmt: skip


def some_facts(
    rng: random.Random, number: int, *, tenants: tuple[str, ...] = ("acme", "globex")
) -> FindingFacts:
    """Any call at all; credentials are a tenant's own."""
    tenant = rng.choice(tenants)
    places = [
        found(
            rng.choice(KINDS),
            f"{tenant} {rng.randrange(8)}",
            version=rng.randrange(1, 4),
            pointer=rng.choice(["/messages/0/content", "/user", "/tools/0/\0ü"]),
            number=at,
        )
        for at in range(1, rng.randrange(2, 6))
    ]
    return facts(
        *places,
        tenant=tenant,
        key=rng.choice(["ci", "laptop"]),
        policy=rng.choice(["standard", "strict"]),
        action=rng.choice(["redacted", "blocked", "observed"]),
        count=len(places) + rng.choice([0, 0, 7]),
        found_ms=NOVEMBER_MS + number * 1_000,
    )
