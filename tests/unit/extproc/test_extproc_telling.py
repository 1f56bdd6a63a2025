"""What the edge tells telemetry of a call: once each, whatever becomes of it, and nothing that was in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_extproc_admission import Limited
from test_extproc_credentials import BODY, OWN, Call, Keys, scenario

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.extproc import exchange_stream
from sovereign_ext.telemetry.facts import Appended, CallEnded, LimitRefused, Scanned, TurnedAway

TOKEN = "xoxb-0123456789012-0123456789012-" + "aB3dE5gH7jK9mN1pQ3sT5vW7"


def test_a_refused_call() -> None:
    """Its scan, the limit that stood against it, its entry, its end."""

    async def run() -> None:
        call = Limited()
        for _ in range(3):
            call.ask()
        await call.gateway.drain()
        told = [fact for fact in call.told if not isinstance(fact, Scanned)]
        assert [type(fact) for fact in told] == [LimitRefused, Appended, CallEnded]
        refused, appended, ended = told
        assert (refused.measure, refused.scope) == ("requests", "tenant")
        assert (appended.kind, appended.durable, appended.seconds >= 0) == ("outcome", True, True)
        assert (ended.facts.error_code, ended.durable) == ("rate_limit_exceeded", True)

    scenario(run)


def test_an_entry_that_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        call = Limited()

        async def full(_: Any) -> Any:
            raise LogUnavailable("no space left")

        monkeypatch.setattr(call.gateway.log, "append", full)
        for _ in range(3):
            call.ask()
        await call.gateway.drain()
        appended, ended = call.told[-2:]
        assert isinstance(appended, Appended)
        assert isinstance(ended, CallEnded)
        assert (appended.durable, ended.durable) == (False, False)

    scenario(run)


def test_a_wrong_key_is_turned_away() -> None:
    """No tenant, no entry."""
    call = Call(Keys(at_hand=OWN))
    call.open("sk-nobody")
    assert call.told == [TurnedAway("chat.completions", 401, "invalid_api_key")]


@pytest.mark.parametrize("at_once", [10, 1 << 20], ids=["aside", "at once"])
def test_a_scan_with_a_finding(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the event loop and on another thread: told once, by kind, without the credential."""
    monkeypatch.setattr(exchange_stream, "SCANNED_AT_ONCE", at_once)
    document = json.loads(BODY)
    document["messages"][0]["content"] = f"use {TOKEN} and {TOKEN}"
    body = json.dumps(document).encode()

    async def run() -> None:
        call = Call(Keys(at_hand=OWN))
        call.ask(body)
        await call.gateway.drain()
        (scanned,) = [fact for fact in call.told if isinstance(fact, Scanned)]
        assert (scanned.kinds, scanned.action, scanned.size) == (["slack-token"] * 2, "redacted", len(body))
        assert scanned.seconds > 0
        assert TOKEN not in repr(call.told)

    scenario(run)
