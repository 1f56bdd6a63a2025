"""Credentials in prompts, through real Envoy: no provider, log, row, metric or error ever sees one; the log says where
they were."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import wire
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "scanner"))
from makers_six import MAKERS, SETTINGS

pytestmark = pytest.mark.dataplane

KINDS = sorted(MAKERS)
TEAM: list[str] = []
"""Two keys of one tenant."""
OPERATORS: dict[str, str] = {}
"""Their keys of the management API."""
MODES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Three providers behind one policy each of ``redact``, ``block``, ``observe`` and strict audit."""
    with ExitStack() as running:
        config = ConfigFile()
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "two", "three")}
        for name, mock in mocks.items():
            config.provider(name, "openai", mock.url)
        chain = list(mocks)
        config.policy("default", chain)
        config.policy("strict", chain, audit="strict")
        config.policy("block", chain, redaction={"action": "block"})
        config.policy("observe", chain, redaction={"action": "observe"})
        config.policy("aws-only", chain, redaction={"detect": ["aws"]})
        config.policy("not-github", chain, redaction={"ignore": ["github"]})
        config.model("m", chain)
        team = config.tenant("team", {}, {})
        admins = {"root": (config.admin_key, {})}
        for name, tenant in (("team-admin", "team"), ("other-admin", "other")):
            key = mint(KeyKind.ADMIN, random.randbytes(32)).reveal()
            admins[name] = (key, {"role": "tenant_admin", "tenant": tenant})
        config.more["admins"] = [
            {"id": name, "keys": [{"id": name, "hash": hash_key(key)}], **more}
            for name, (key, more) in admins.items()
        ]
        for kind in KINDS:  # health is kept by deployment: each test of a walk needs its own
            for mode in ("json", "sse"):
                config.model(f"{kind}.{mode}", chain)
        TEAM[:] = team
        OPERATORS.update({name: key for name, (key, _) in admins.items()})
        yield Gateway(running.enter_context(Stack(config)), mocks)


def secrets(seed: str, kinds: list[str] = KINDS) -> dict[str, str]:
    """One credential of each kind, made now."""
    source = random.Random(seed)
    return {kind: MAKERS[kind](source).decode() for kind in kinds}


def call(
    gateway: Gateway,
    text: str,
    policy: str = "default",
    *,
    model: str = "m",
    stream: bool = False,
    **more: Any,
) -> wire.Reply:
    messages = [{"role": "user", "content": text}]
    reply: wire.Reply = gateway.stack.chat(
        model, stream=stream, messages=messages, headers={"x-sf-policy": policy}, **more
    )
    return reply


def received(gateway: Gateway) -> list[bytes]:
    """The bodies that providers got since the mocks were cleared."""
    return [request.body for mock in gateway.mocks.values() for request in mock.requests()]


def entry(stack: Stack, reply: wire.Reply) -> dict[str, Any]:
    """The predicate of the finding entry that the outcome of this call names."""
    row = stack.row_of(reply)
    (found,) = (each for each in stack.rows(kind="finding") if each.index == row.predicate["finding_index"])
    assert found.decision_id == row.decision_id
    assert found.index < row.index
    return found.predicate


def nowhere(gateway: Gateway, *texts: str) -> None:
    """Neither in any file of the gateway, log and database included, nor in what it printed, nor in a metric."""
    stack = gateway.stack
    metrics = wire.call(stack.port, "/sf/v1/metrics", key=stack.config.admin_key, method="GET")
    assert b"sovereign_findings_total{" in metrics.body
    for text in texts:
        assert text.encode() not in metrics.body
    for path in stack.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for text in texts:
                assert text.encode() not in data, path
    for text in texts:
        assert text not in stack.logs(lines=100_000)


@pytest.fixture(autouse=True)
def _clear(gateway: Gateway) -> None:
    for mock in gateway.mocks.values():
        mock.clear()


@MODES
@pytest.mark.parametrize("kind", KINDS)
def test_no_provider_sees_it_on_any_attempt(gateway: Gateway, kind: str, stream: bool) -> None:
    """Two providers fail, the third answers: all three got the marker in its place."""
    secret = secrets(f"{kind} {stream}")[kind]
    before, after = setting(kind)
    for name in ("one", "two"):
        gateway.mocks[name].fault(Fault(status=503))
    text = f"Why does the deployment fail?\n{before}{secret}{after}\nThanks."
    reply = call(gateway, text, model=f"{kind}.{'sse' if stream else 'json'}", stream=stream)
    assert reply.status == 200
    attestation = reply.stream_attestation if stream else reply.attestation
    assert attestation["findings"] >= 1
    bodies = received(gateway)
    assert len(bodies) == 3
    for body in bodies:
        assert secret.encode() not in body
        content = json.loads(body)["messages"][0]["content"]
        assert content.endswith(f"[REDACTED:{kind}:1]{after}\nThanks.")
    told = entry(gateway.stack, reply)
    assert told["action"] == "redacted"
    assert told["found"][-1].items() >= {
        "kind": kind, "pointer": "/messages/0/content", "length": len(secret), "number": 1
    }.items()  # fmt: skip
    assert "redacted-request" in gateway.stack.row_of(reply).subjects
    nowhere(gateway, secret)


def setting(kind: str) -> tuple[str, str]:
    """What stands around it, where a credential is not known by itself."""
    if kind not in SETTINGS:
        return "", ""
    before, after = SETTINGS[kind][-1](random.Random(kind))
    return before.decode(), after.decode()


@MODES
def test_a_policy_can_block(gateway: Gateway, stream: bool) -> None:
    """Kinds and places in the error, no values; nothing is sent; the log has it."""
    made = secrets(f"block {stream}", ["github-token", "stripe-secret-key"])
    tools = [{"type": "function", "function": {"name": "f", "description": made["stripe-secret-key"]}}]
    reply = call(gateway, f"use {made['github-token']}", "block", stream=stream, tools=tools)
    assert (reply.status, reply.error["code"]) == (400, "credential_detected")
    for word in ("github-token", "/messages/0/content", "stripe-secret-key", "/tools/0/function/description"):
        assert word in reply.error["message"]
    assert received(gateway) == []
    told = entry(gateway.stack, reply)
    assert (told["action"], told["count"]) == ("blocked", 2)
    for secret in made.values():
        assert secret.encode() not in reply.body
    nowhere(gateway, *made.values())


def test_a_policy_can_observe(gateway: Gateway) -> None:
    """It is sent as it is, and on the record."""
    secret = secrets("observe")["github-token"]
    reply = call(gateway, secret, "observe")
    assert reply.status == 200
    (body,) = received(gateway)
    assert json.loads(body)["messages"][0]["content"] == secret
    told = entry(gateway.stack, reply)
    assert told["action"] == "observed"
    assert "redacted-request" not in gateway.stack.row_of(reply).subjects
    nowhere(gateway, secret)


def test_a_policy_chooses(gateway: Gateway) -> None:
    """By family, those that are looked for and those that are not."""
    made = secrets("choose", ["github-token", "aws-access-key"])
    text = " ".join(made.values())
    for policy, left, gone in (
        ("aws-only", "github-token", "aws-access-key"),
        ("not-github", "github-token", "aws-access-key"),
    ):
        for mock in gateway.mocks.values():
            mock.clear()
        assert call(gateway, text, policy).status == 200
        (body,) = received(gateway)
        assert made[left].encode() in body
        assert made[gone].encode() not in body


def test_the_same_leak_is_known_again(gateway: Gateway) -> None:
    """By the same tenant's fingerprint; another tenant's is another."""
    secret = secrets("again")["github-token"]
    first, second = (entry(gateway.stack, call(gateway, f"{n} {secret}")) for n in range(2))
    assert first["found"][0]["fingerprint"] == second["found"][0]["fingerprint"]
    body = {"model": "m", "messages": [{"role": "user", "content": secret}]}
    other = wire.call(gateway.stack.port, key=gateway.stack.config.other_key, body=body)
    assert other.status == 200
    assert entry(gateway.stack, other)["found"][0]["fingerprint"] != first["found"][0]["fingerprint"]


def ask(gateway: Gateway, who: str, path: str, **query: str) -> wire.Reply:
    """A question to the management API."""
    target = f"/sf/v1/{path}?{urlencode(query)}"
    return wire.call(gateway.stack.port, target, key=OPERATORS[who], method="GET")


def leak(gateway: Gateway, key: str, content: str) -> wire.Reply:
    """A call of the team's."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    reply: wire.Reply = wire.call(gateway.stack.port, key=key, body=body)
    assert reply.status == 200
    return reply


def test_who_leaked_one_credential(gateway: Gateway) -> None:
    """By its fingerprint: two calls, by two keys, with all that a report takes; for nobody else."""
    secret = secrets("who")["github-token"]
    calls = [leak(gateway, key, f"use {secret}, please") for key in TEAM]
    fingerprint = entry(gateway.stack, calls[0])["found"][0]["fingerprint"]
    asked = f"fingerprint = {fingerprint}"
    listed = ask(gateway, "team-admin", "findings", filter=asked)
    assert secret.encode() not in listed.body
    found = listed.json["findings"]
    assert [each["key"] for each in found] == ["team-2", "team-1"]
    assert [each["decision_id"] for each in found] == [
        call.headers["x-sf-decision-id"] for call in reversed(calls)
    ]
    for each in found:
        assert each.items() >= {
            "tenant": "team", "policy": "default", "action": "redacted", "kind": "github-token", "family": "github",
            "pointer": "/messages/0/content", "length": len(secret), "number": 1, "place": 1, "place_count": 1,
            "fingerprint": fingerprint,
        }.items()  # fmt: skip
        assert ask(gateway, "team-admin", each["name"]).json == each
        row = ask(gateway, "team-admin", each["audit_row"]).json
        assert row["predicate"]["found"][0]["fingerprint"] == fingerprint
        assert row["decision_id"] == each["decision_id"]
    (sums,) = ask(gateway, "team-admin", "findings:summarize", filter=asked).json["summaries"]
    assert (sums["count"], sums["calls"]) == ("2", "2")
    assert (sums["first_finding"], sums["last_finding"]) == (found[1]["name"], found[0]["name"])
    assert ask(gateway, "root", "findings", filter=asked).json == listed.json
    assert ask(gateway, "other-admin", "findings", filter=asked).json["findings"] == []
    assert ask(gateway, "other-admin", "findings:summarize", filter=asked).json["summaries"] == []
    foreign, missing = (ask(gateway, "other-admin", name) for name in (found[0]["name"], "findings/99999-1"))
    assert (foreign.status, foreign.body) == (missing.status, missing.body) == (404, missing.body)


def test_of_many_places_the_first_are_told_and_all_are_counted(gateway: Gateway) -> None:
    """A reader learns that there were more."""
    secret = secrets("many")["github-token"]
    reply = leak(gateway, TEAM[0], " ".join([secret] * 140))
    asked = f"decision_id = {reply.headers['x-sf-decision-id']}"
    found = ask(gateway, "team-admin", "findings", filter=asked, page_size="1000").json["findings"]
    assert [each["place"] for each in found] == [*range(100, 0, -1)]
    assert {each["place_count"] for each in found} == {140}
    summary = ask(gateway, "team-admin", "findings:summarize", filter=asked, group_by="kind").json
    (sums,) = summary["summaries"]
    assert (sums["count"], sums["calls"], summary["untold_count"]) == ("100", "1", "40")


def test_the_command_shows_findings(gateway: Gateway) -> None:
    """As a table, and as JSON; names that a client chose do nothing to a terminal."""
    secret = secrets("command")["github-token"]
    schema = {"type": "object", "properties": {"\x1b[2Jx": {"description": secret}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    reply = call(gateway, "hello", tools=tools)
    found = entry(gateway.stack, reply)["found"][0]
    arguments = ["--filter", f"fingerprint = {found['fingerprint']}", "--url"]
    arguments.append(f"http://127.0.0.1:{gateway.stack.port}")
    listed = sovereign(gateway, "findings", "list", *arguments)
    (head, line) = listed.splitlines()
    assert head.split()[:4] == ["time", "tenant", "key", "action"]
    assert line.split()[1:5] == ["t", "t-1", "redacted", "github-token"]
    assert "\\u001b[2Jx/description" in line
    assert line.endswith(found["fingerprint"])
    (shown,) = json.loads(sovereign(gateway, "findings", "list", "--json", *arguments))
    assert shown["pointer"] == found["pointer"]
    summary = sovereign(gateway, "findings", "summary", *arguments)
    assert summary.splitlines()[1].split()[:5] == ["t", "github-token", found["fingerprint"], "1", "1"]
    sums = json.loads(sovereign(gateway, "findings", "summary", "--by", "key", "--json", *arguments))
    assert [each["key"] for each in sums["summaries"]] == ["t-1"]
    assert sums["untold_count"] == "0"


def sovereign(gateway: Gateway, *arguments: str) -> str:
    """Run the command; its output."""
    environ = {**os.environ, "SF_ADMIN_KEY": OPERATORS["root"]}
    command = [sys.executable, "-P", "-m", "sovereign_ext.cli.main", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environ, cwd=gateway.stack.root
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_under_strict_audit_it_is_told_before_the_decision(gateway: Gateway) -> None:
    secret = secrets("strict")["github-token"]
    reply = call(gateway, secret, "strict")
    assert reply.status == 200
    predicate = gateway.stack.row_of(reply).predicate
    assert predicate["finding_index"] < predicate["decision_index"]


def test_a_large_body_is_scanned_too(gateway: Gateway) -> None:
    """Above the size that is scanned beside the calls, at its very end."""
    secret = secrets("large")["github-token"]
    reply = call(gateway, "word " * 100_000 + secret)
    assert reply.status == 200
    (body,) = received(gateway)
    assert secret.encode() not in body
    assert b"[REDACTED:github-token:1]" in body


def test_the_name_of_a_model_is_no_hiding_place(gateway: Gateway) -> None:
    """Neither in the error nor in the entry, whatever the policy does."""
    secret = secrets("model")["github-token"]
    for policy in ("default", "observe", "block"):
        body = {"model": secret, "messages": [{"role": "user", "content": "x"}]}
        reply = wire.call(
            gateway.stack.port, key=gateway.stack.config.key, body=body, headers={"x-sf-policy": policy}
        )
        assert reply.status in (400, 404)
        assert secret.encode() not in reply.body
    nowhere(gateway, secret)


def test_a_clean_call_has_no_finding(gateway: Gateway) -> None:
    reply = call(gateway, "nothing to hide")
    assert reply.attestation["findings"] == 0
    predicate = gateway.stack.row_of(reply).predicate
    assert "finding_index" not in predicate


def test_monitor_and_fsck_agree(gateway: Gateway) -> None:
    """Every entry obeys its policy: what was blocked was not sent, what was found is told of."""
    gateway.stack.monitor()
    gateway.stack.fsck()
