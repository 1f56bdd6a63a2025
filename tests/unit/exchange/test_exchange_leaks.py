"""What is done about credentials in a request, and what of them is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_world import KEY, START

from sovereign_ext.attest.commit import REDACTED_REQUEST, commit
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import LeakAction
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import CallerError, ConfigError
from sovereign_ext.exchange.decide import receive
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.leaks import MOST_TOLD, allowed, fingerprints, told
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.scanner.scan import Finding, Scan
from sovereign_ext.scanner.selection import names, select
from sovereign_ext.secret import Secret
from sovereign_ext.tenants.resolve import Identity

TEXT = """\
version: 1
tenants: [{id: t, policies: [redact, block, observe], default_policy: redact}]
policies:
  - {id: redact}
  - {id: block, redaction: {action: block}}
  - {id: observe, redaction: {action: observe}}
models: [{id: m}]
"""
SNAPSHOT = Snapshot.from_config(parse(TEXT), version=1, digest="sha256:x", routable=routable)
SECRET = "not-shown-anywhere"
MARKER = "[REDACTED:kind:1]"


def body(text: str, model: str = "m") -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()


def finding(**changes: Any) -> Finding:
    values = {"kind": "kind", "family": "family", "version": 3, "number": 1, "pointer": "/messages/0/content"}
    return Finding(**{**values, "length": len(SECRET), "secret": Secret(SECRET), **changes})


def received(policy: str, original: bytes) -> tuple[Exchange, Any, Any]:
    exchange = Exchange("d", START, Endpoint.CHAT, Identity(SNAPSHOT.config.tenants[0], "ci"), SNAPSHOT, KEY)
    return exchange, *receive(exchange, original, policy)


@pytest.mark.parametrize("action", LeakAction)
def test_each_action(action: LeakAction) -> None:
    """Redacted is what goes on where the policy redacts; blocked is nothing; observed is the original."""
    exchange, request, policy = received(action.value, body(SECRET))
    scanned = Scan((finding(),), body(MARKER))
    facts = told(exchange, policy, scanned, fingerprints(bytes), START)
    assert (facts.count, facts.key, facts.client_request) == (1, "ci", exchange.client_request)
    assert SECRET not in repr(facts)
    redacted = commit(KEY, REDACTED_REQUEST, body(MARKER)) if action is LeakAction.REDACT else None
    assert facts.redacted_request == exchange.redacted_request == redacted
    if action is LeakAction.BLOCK:
        with pytest.raises(CallerError) as refused:
            allowed(policy, request, scanned)
        assert (refused.value.status, refused.value.code) == (400, "credential_detected")
        assert "kind" in str(refused.value)
        assert "/messages/0/content" in str(refused.value)
        assert SECRET not in str(refused.value)
        assert facts.action == "blocked"
        return
    content = allowed(policy, request, scanned).values["messages"][0]["content"]
    expected = {LeakAction.REDACT: ("redacted", MARKER), LeakAction.OBSERVE: ("observed", SECRET)}
    assert (facts.action, content) == expected[action]


def test_a_clean_request_goes_on_as_it_is() -> None:
    _, request, policy = received("block", body("x"))
    assert allowed(policy, request, Scan((), body("x"))) is request


def test_the_name_of_a_model_is_redacted_whatever_the_policy_does() -> None:
    """It is told in errors and entries."""
    exchange, request, policy = received("observe", body("x", model=SECRET))
    assert exchange.model == ""
    scanned = Scan((finding(pointer="/model"),), body("x", model=MARKER))
    assert allowed(policy, request, scanned).model == MARKER


def test_an_entry_is_bounded() -> None:
    """However much was found, and however members are called."""
    exchange, _, policy = received("redact", body(SECRET))
    many = tuple(finding(pointer="/metadata/" + "n" * 5000) for _ in range(MOST_TOLD + 1))
    facts = told(exchange, policy, Scan(many, body(MARKER)), fingerprints(bytes), START)
    assert (facts.count, len(facts.found)) == (MOST_TOLD + 1, MOST_TOLD)
    assert len(facts.found[0].pointer) < 300


def test_fingerprints_tell_tenants_and_secrets_apart() -> None:
    """And are the same for the same."""
    one, other = fingerprints(lambda name: name.rjust(32)), fingerprints(lambda name: name.ljust(32))
    assert one("t", b"a") == one("t", b"a")
    assert len({one("t", b"a"), one("t", b"b"), one("u", b"a"), other("t", b"a")}) == 4


def test_policies_choose_by_kind_and_family() -> None:
    assert {each.family for each in select(["github"])} == {"github"}
    assert {each.kind for each in select(["github-token", "aws"], ["aws-secret-key"])} == {
        "github-token",
        "aws-access-key",
        "aws-session-token",
        "aws-bedrock-key",
    }
    assert {"github", "github-token"} <= names()
    assert select() != select(ignore=["jwt"])


def test_a_name_that_is_no_kind_is_a_fault_of_the_file() -> None:
    with pytest.raises(ConfigError, match="there is no kind or family of credentials 'gihub'"):
        parse(TEXT.replace("{action: block}", "{detect: [gihub]}"))
