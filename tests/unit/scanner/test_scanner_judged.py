"""detect-secrets, an independent scanner, sees the keys in what a client sent and none in what would be sent on."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import judging
import pytest
from corpus import Leaf, case
from corpus_kinds import MAKERS, SETTINGS
from corpus_texts import FORMS, HIDINGS, around, planted
from test_scanner_corpus import SCANNER

pytestmark = pytest.mark.services

KNOWN: Final = frozenset(
    {"openai-api-key", "aws-access-key", "github-token", "slack-token", "stripe-secret-key"}
)
"""Kinds that it knows; not every form of each. Anthropic's keys are none of them."""


@pytest.fixture(scope="module")
def judge() -> Iterator[judging.Judge]:
    with judging.leaks() as found:
        yield found


def texts(body: bytes) -> str:
    """All strings of a body, as a provider reads them."""

    def walk(value: Any) -> Iterator[str]:
        match value:
            case str():
                yield value
            case dict():
                for name, member in value.items():
                    yield name
                    yield from walk(member)
            case list():
                for each in value:
                    yield from walk(each)

    return "\n".join(walk(json.loads(body)))


def asked(judge: judging.Judge, body: bytes) -> set[str]:
    """The values that it takes for secrets."""
    return {value for _, value in judge.ask("found", text=texts(body))}


def test_an_independent_scanner_finds_nothing_any_more(judge: judging.Judge) -> None:
    """Whatever of a credential it sees before the redaction, of any kind, it does not see after it, and nothing new."""
    rng = random.Random(6)
    seen: Counter[str] = Counter()
    for kind, make in MAKERS.items():
        for _ in range(12):
            form = rng.choice(FORMS)
            beside = SETTINGS[kind](rng) if kind in SETTINGS else (b"", b"")
            piece = planted(kind, make(rng), form, HIDINGS["as it is"], rng)
            assert piece is not None
            made = case(
                kind, {"messages": [{"role": "user", "content": Leaf(around(form, kind, beside, piece))}]}
            )
            before, after = asked(judge, made.body), asked(judge, SCANNER.scan(made.body).body)
            of_secret = {value for value in before if value in piece.text or piece.text in value}
            seen[kind] += bool(of_secret)
            assert after <= before - of_secret, f"{kind}, {form.name}: still seen"
    assert all(seen[kind] for kind in KNOWN), seen
    assert seen.total() > 150, seen
