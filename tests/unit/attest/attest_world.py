"""What the attestation's tests share: the facts of a call, its bytes, and its receipt from a real log."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sovereign_ext.attest import commit
from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.attest.keys import PublicKeys
from sovereign_ext.attest.statement import opening, outcome_statement
from sovereign_ext.openai.splice import closing_event, splice
from sovereign_ext.tlog.service import EntryDraft, TransparencyLog

ORIGIN = "sovereign.local/log"
TESTS = Path(__file__).parents[2]
KEY = bytes(range(32))
REQUEST = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
BODY = b'{"id":"x","choices":[{"message":{"content":"hi"}}]}\n'
ATTESTATION = b'{"version":1,"rekor_index":2}'
CHUNK = b'{"id":"x","choices":[{"delta":{},"finish_reason":"stop"}]}'
LAST = b'{"id":"x","object":"chat.completion.chunk","choices":[]}'
STREAM = b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n"
DELIVERED_STREAM = (
    b"data: " + splice(CHUNK, ATTESTATION) + b"\n\ndata: [DONE]\n\n" + closing_event(LAST, ATTESTATION)
)
DELIVERED_BODY = splice(BODY, ATTESTATION)


SHADOW = {
    "policy": "next",
    "policy_digest": f"sha256:{'5' * 64}",
    "eligible": ["meridian-b"],
    "rejected": [{"deployment": "meridian-a", "rules": ["tier"]}],
    "plan_changes": 1,
}


def candidate(deployment: str, *failed: str) -> dict[str, Any]:
    """A deployment as its facts are written down."""
    return {
        "deployment": deployment,
        "provider": deployment.replace("meridian", "vllm"),
        "capabilities": ["chat"],
        "tier": "open",
        "tier_reasons": ["no_tls"],
        "scopes": ["hipaa"],
        "provider_origin": ["US"],
        "model_origin": ["US", "jhu"],
        "drift": "unknown",
        "p95_ms": 120,
        "model_hash_basis": "none",
        "documents": [],
        "failed": list(failed),
    }


@dataclass(frozen=True)
class Ack:
    """What a mirror acknowledged."""

    name: str = "mirror.example/m1"
    size: int = 2
    time_s: int = 1_767_225_600


def facts(response: bytes = BODY, *, decision_id: str = "d-1", stream: bool = False) -> CallFacts:
    """A call that was answered at the second try."""
    return CallFacts(
        decision_id=decision_id,
        tenant="mayo",
        endpoint="chat.completions",
        stream=stream,
        result=Result.ANSWERED,
        status=200,
        error_code=None,
        started_ms=1_767_225_600_000,
        finished_ms=1_767_225_601_500,
        policy="phi",
        policy_digest=bytes(32),
        model="mayo-jhu/meridian-med-13b-v2",
        model_hash=None,
        model_hash_basis="none",
        deployment="meridian-b",
        provider="vllm-b",
        tier_required="open",
        tier_observed="open",
        tier_reasons=("names_are_claims",),
        attempts=(
            AttemptFact("meridian-a", "vllm-a", "status", 503, 1_767_225_600_100, 40),
            AttemptFact("meridian-b", "vllm-b", "ok", 200, 1_767_225_600_140, 1300),
        ),
        audit="standard",
        request={"capability": "chat", "prompt_tokens": 15, "max_tokens": 100},
        candidates=(candidate("meridian-a"), candidate("meridian-b"), candidate("meridian-c", "tier")),
        witnesses=(("cms", "hipaa", f"sha256:{'b' * 64}"),),
        evidence_documents=(f"sha256:{'b' * 64}", f"sha256:{'e' * 64}"),
        cost_nano_usd=1_500_000,
        decision_index=1,
        shadows=(SHADOW,),
        prompt_tokens=12,
        completion_tokens=3,
        digests=Digests(
            client_request=commit.commit(KEY, commit.CLIENT_REQUEST, REQUEST),
            sent_request=commit.commit(KEY, commit.SENT_REQUEST, REQUEST),
            delivered_response=commit.commit(KEY, commit.DELIVERED_RESPONSE, response),
        ),
    )


@dataclass(frozen=True)
class Issued:
    """Receipts of a real log: of an answer in JSON and of a stream, and the log's keys and public files."""

    json: dict[str, Any]
    stream: dict[str, Any]
    keys: PublicKeys
    public: Path


def issue(state: Path) -> Issued:
    """Append some calls, take the receipts of the third and the fourth."""
    return asyncio.run(_issue(state))


async def _issue(state: Path) -> Issued:
    log = await TransparencyLog.open(state, ORIGIN, clock=lambda: 1_767_225_601_600)
    try:
        for number, (response, stream) in enumerate(
            ((BODY, False), (BODY, False), (BODY, False), (STREAM, True))
        ):
            call = facts(response, decision_id=f"d-{number}", stream=stream)
            secret = opening(KEY, call.digests)
            await log.append(EntryDraft("outcome", "mayo", call.decision_id, outcome_statement(call), secret))
        receipts = [await log.receipt(index, "mayo", 10) for index in (2, 3)]
        return Issued(receipts[0], receipts[1], log.public_keys, state / "public")
    finally:
        await log.close()


def sigstore_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on sigstore-python, in the judges' environment."""
    python = Path(
        os.environ.get("SOVEREIGN_JUDGES_PYTHON") or TESTS.parent / ".venv-judges" / "bin" / "python"
    )
    assert python.exists(), f"no interpreter with sigstore at {python}: run `make test`, which sets it up"
    script = Path(__file__).parent / "judges" / "sigstore_python.py"
    return subprocess.run(
        [python, script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def sigstore_js(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on @sigstore/verify."""
    directory = TESTS / "judges" / "node"
    assert (directory / "node_modules").is_dir(), (
        f"no packages in {directory}: run `make test`, or `npm ci` there"
    )
    command = ["node", directory / "judge.mjs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def write_json(path: Path, value: Any) -> str:
    """The path, as text, of a file with ``value``."""
    path.write_text(json.dumps(value))
    return str(path)
