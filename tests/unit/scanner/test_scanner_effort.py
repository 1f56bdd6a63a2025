"""How much work a body may ask for: hostile bodies come to an end, honest ones to theirs.

What is counted are places that were judged in vain, not seconds: nothing here depends on the machine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice

import pytest
from corpus_kinds import MAKERS, SETTINGS

from bench import hostile
from sovereign_ext.scanner import effort, engine
from sovereign_ext.scanner.effort import BYTES_EACH, CalledOff, Effort, NotScannable
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.scanner.scan import Scanner

SCANNER = Scanner()
SIZE = 20_000
"""Bytes of a hostile body. All that is counted is in proportion to it."""

SAMPLED = 23
"""One in so many of the hostile bodies; bench.scan has them all."""

JUDGEMENTS = 8
"""How often at most a detector is asked for each place in vain that a body may have: with and without line breaks, and
by several detectors at one place."""


def env(lines: int, kinds: list[str]) -> tuple[bytes, list[str]]:
    """A request with a dump of settings, one of these kinds in turn in each line, and the secrets in it."""
    rng = random.Random(17)
    settings, secrets = [], []
    for number, kind in enumerate(islice(cycle(kinds), lines)):
        before, after = SETTINGS[kind](rng) if kind in SETTINGS else (b"", b"")
        secret = MAKERS[kind](rng)
        secrets.append(secret.decode())
        settings.append(f"APP_{kind.upper().replace('-', '_')}_{number}={(before + secret + after).decode()}")
    text = "\n".join(settings)
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode(), secrets


@pytest.mark.parametrize(
    "kinds",
    [
        ["aws-access-key", "aws-secret-key"],
        ["openai-api-key", "anthropic-api-key", "github-token", "stripe-secret-key", "slack-token"],
        ["router-admin-key"],
        ["google-api-key"],
        ["url-password", "connection-string-password", "azure-account-key", "npm-auth-token"],
    ],
    ids=" ".join,
)
def test_a_dump_of_credentials_is_redacted_to_its_end(
    kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is free here, so that a dump of any size is scanned if this one is."""
    monkeypatch.setattr(effort, "FREE", 0)
    body, secrets = env(400, kinds)
    scan = SCANNER.scan(body)
    text = json.loads(scan.body)["messages"][0]["content"]
    assert not [secret for secret in secrets if secret in text]
    assert len(scan.findings) >= len(secrets)


HONEST: dict[str, Callable[[int], str]] = {
    "a region in a table": lambda n: f"{n},ASIA\n",
    "masked keys": lambda n: f"{n},AKIAXXXXXXXXXXXXXXXX\n",
    "placeholders": lambda n: f"OPENAI_API_KEY_{n}=sk-{'x' * 48}\n",
    "cursors": lambda n: f'{{"next":"eyJpZCI6MTIzNDU2Nzg5MH0{n:08}"}}\n',
    "calls": lambda n: f"client.login(user='a{n}', password=secret.value)\n",
    "variables": lambda n: f"Server=db{n};Database=x;User Id=sa;Password=${{DB_PASSWORD}};\n",
    "classes": lambda n: f".sk-folding-cube .sk-cube{n}:before{{animation:sk-foldCubeAngle}}",
}


@pytest.mark.parametrize("line", HONEST.values(), ids=HONEST)
def test_texts_without_credentials_are_scanned_to_their_end(
    line: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "FREE", 0)
    text = "".join(map(line, range(5_000)))
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    assert SCANNER.scan(body).body is body


def test_no_body_makes_detectors_judge_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of all hostile bodies there are: each is scanned, or refused before it has cost more."""
    asked = 0

    def find(_text: bytes, _at: int) -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(effort, "FREE", 100)
    monkeypatch.setattr(engine, "LONGEST_INTERVAL", 1 << 11)  # what is judged before it is counted
    scanner = Scanner(replace(detector, find=find) for detector in DETECTORS)
    refused = 0
    for name, fill in islice(hostile.bodies(DETECTORS), 0, None, SAMPLED):
        body = fill(SIZE)
        asked = 0
        try:
            scanner.scan(body)
        except NotScannable:
            refused += 1
        assert asked <= JUDGEMENTS * (100 + 2 * len(body) // BYTES_EACH), name
    assert refused > 5


def test_a_body_made_to_be_slow_is_not_scanned_to_its_end() -> None:
    with pytest.raises(NotScannable):
        SCANNER.scan(hostile.repeated(b"pwd= ")(200_000))


def test_every_body_may_have_some_places_in_vain() -> None:
    body = hostile.repeated(b"pwd= ")(5 * effort.FREE - 1_000)
    assert SCANNER.scan(body).body is body


def test_a_scan_that_was_called_off_ends() -> None:
    called_off = Effort()
    called_off.call_off()
    with pytest.raises(CalledOff):
        SCANNER.scan(b'{"a":"b"}', called_off)
