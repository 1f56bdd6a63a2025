"""Texts without credentials: nothing is found in ten megabytes of source code, data, documentation and base64.

``make bench-scan`` does the same with more; here is as much as a fast test can take.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

import pytest
from test_scanner_corpus import SCANNER

from bench import clean, hostile
from sovereign_ext.scanner.registry import DETECTORS

pytestmark = pytest.mark.services

SIX: Final = frozenset({"openai", "anthropic", "aws", "github", "slack", "stripe"})
EACH_MB: Final = 1.5
FAMILIES: Final = {each.kind: each.family for each in DETECTORS}


def test_clean_texts_are_left_alone() -> None:
    """The six families: no false alarm in all these texts. The others: at most one in two megabytes."""
    megabytes: Counter[str] = Counter()
    alarms: list[str] = []
    for number, (family, text) in enumerate(clean.texts(dict.fromkeys(clean.FAMILIES, EACH_MB))):
        megabytes[family] += len(text.encode())
        body = clean.body(text, number)
        scan = SCANNER.scan(body)
        alarms += [f"{FAMILIES[each.kind]}: {each.secret.reveal()!r} in {family}" for each in scan.findings]
        assert scan.findings or scan.body is body
    assert megabytes.total() > 10e6, megabytes
    assert not [each for each in alarms if each.split(":")[0] in SIX]
    assert len(alarms) <= megabytes.total() / 2e6, "\n".join(alarms)


@pytest.mark.parametrize(("name", "fill"), list(hostile.bodies(DETECTORS))[::7])
def test_hostile_bodies_are_json(name: str, fill: hostile.Fill) -> None:
    """The benchmark's bodies are what a client could send, and what becomes of them is JSON too."""
    body = fill(20_000)
    assert 10_000 < len(body) < 40_000
    json.loads(body)
    json.loads(SCANNER.scan(body).body)
