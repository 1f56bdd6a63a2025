"""detect-secrets, an independent scanner, on both sides of real Envoy: it sees the keys in what a client sends, and
none of them in what the provider receives.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import judging
import pytest
from stack import ConfigFile, Stack

from sovereign_ext.mock.thread import RunningMock

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "scanner"))
from corpus import Leaf, Planted, case
from corpus_kinds import MAKERS, SETTINGS
from corpus_texts import FORMS, HIDINGS, WRAPS, around, planted
from test_scanner_judged import KNOWN, asked

pytestmark = pytest.mark.dataplane

MESSAGES: Final = 60
"""Of a request."""

EACH: Final = 12
"""Messages with a credential of one kind."""

WAYS: Final = [HIDINGS["as it is"]] * 6 + [HIDINGS["first character escaped"], WRAPS["continued line inside"]]


@pytest.fixture(scope="module")
def judge() -> Iterator[judging.Judge]:
    with judging.leaks() as found:
        yield found


def message(kind: str, rng: random.Random) -> tuple[Planted, dict[str, Any]]:
    """A credential of this kind in some form of text."""
    form, secret = rng.choice(FORMS), MAKERS[kind](rng)
    hide = WAYS[0] if b"\n" in secret else rng.choice(WAYS)
    piece = planted(kind, secret, form, hide, rng)
    assert piece is not None
    beside = SETTINGS[kind](rng) if kind in SETTINGS else (b"", b"")
    return piece, {"role": "user", "content": Leaf(around(form, kind, beside, piece))}


def test_it_finds_nothing_where_it_found_the_keys(judge: judging.Judge) -> None:
    """Every kind, some dozens of messages a request: what it saw of a credential is gone, and it sees nothing new."""
    rng = random.Random(40)
    seen: Counter[str] = Counter()
    config = ConfigFile()
    with RunningMock("openai") as mock:
        config.provider("one", "openai", mock.url)
        config.model("m", ["one"])
        with Stack(config) as stack:
            kinds = [kind for kind in MAKERS for _ in range(EACH)]
            for first in range(0, len(kinds), MESSAGES):
                made = [message(kind, rng) for kind in kinds[first : first + MESSAGES]]
                pieces, messages = zip(*made, strict=True)
                sent = json.loads(case("", {"messages": list(messages)}).body)["messages"]
                mock.clear()
                assert stack.chat("m", messages=sent).status == 200
                (request,) = mock.requests()
                got = json.loads(request.body)["messages"]
                before, after = (asked(judge, json.dumps(each).encode()) for each in (sent, got))
                for piece in pieces:
                    text = piece.secret.decode()
                    of_secret = {value for value in before if value in text or text in value}
                    seen[piece.kind] += bool(of_secret)
                    assert not after & of_secret, f"{piece.kind}: still seen"
                assert after <= before
    assert all(seen[kind] for kind in KNOWN), seen
    assert seen.total() > 150, seen
