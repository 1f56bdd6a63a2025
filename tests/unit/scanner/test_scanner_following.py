"""What is asked of the raw bytes behind a place before a region is made: never no where something comes of it."""

from __future__ import annotations

import json
import random
import re

import pytest
from corpus_kinds import MAKERS

from sovereign_ext.scanner.canonical import Canonical, Joined
from sovereign_ext.scanner.detectors.openai import OPENAI
from sovereign_ext.scanner.following import either, rest_follows, run_follows
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.scanner.scan import Scanner

CANONICAL = Canonical(DETECTORS)
SCANNER = Scanner()
API_KEY = next(each for each in OPENAI if each.kind == "openai-api-key")
RUN = run_follows([API_KEY.begins])

BREAKS = (
    rb"\n", rb"\r\n", rb"\r", rb"\\n", rb"\\r\\n", b"\n", b"\\\n", b"\r\n", rb"\\\n", rb" \n  ", rb"\t\n\t", rb"\n> ",
    rb"\n\n", rb"\\\\n", rb"\\\\\\\n | ", rb"\u000a", rb"\\u000A", b"%0a", b"%250D", b"\\n" + b" " * 40,
)  # fmt: skip
OTHERS = (
    rb"\u200b",
    "\u200b".encode(),
    b"%",
    rb"\u00",
    b"\\\\",
    rb"\"",
    rb"\/",
    b" ",
    rb"\t",
    "é".encode(),
    b"|",
    b"-",
)
WORDS = (
    b" words and more",
    rb"\nnext lines",
    b"abcdefgh",
    b"learn-image",
    b"T3BlbkFJ",
    b"proj-",
    b"1234567890" * 5,
)


def broken(rng: random.Random, text: bytes) -> bytes:
    """With some line ends and other things in it; a character of it as an escape, perhaps."""
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(rng.choice((6, 20, len(text))) + 1)
        text = text[:at] + rng.choice(BREAKS if rng.random() < 0.7 else OTHERS) + text[at:]
    at = rng.randrange(20)
    if at < len(text) and text[at : at + 1].isalnum() and b"\\" not in text[max(0, at - 6) : at]:
        text = text[:at] + b"\\u%04x" % text[at] + text[at + 1 :]
    return text


def test_where_a_key_is_found_a_run_follows() -> None:
    """Whatever stands in it, and behind it."""
    rng = random.Random(6)
    found = refused = 0
    for _ in range(3_000):
        key = MAKERS["openai-api-key"](rng).removeprefix(b"sk-")
        if rng.random() < 0.3:
            key = b"".join(rng.choices(WORDS, k=3))
        raw = b"sk-" + broken(rng, key) + rng.choice(WORDS)
        text = CANONICAL.text(raw)
        joined = Joined(text).lines(())
        is_key = any(each[:3] == b"sk-" and API_KEY.find(each, 0) for each in (text, joined))
        assert not is_key or RUN(raw, 3), raw
        found += is_key
        refused += not RUN(raw, 3)
    assert found > 500
    assert refused > 200


def test_where_an_anchor_is_broken_its_rest_follows() -> None:
    rng = random.Random(6)
    anchors = [
        each for detector in DETECTORS if detector.wraps and not detector.fold for each in detector.anchors
    ]
    found = 0
    for _ in range(3_000):
        anchor = rng.choice(anchors)
        at = rng.randrange(1, len(anchor))
        rest = json.dumps(anchor[at:].decode())[1:-1].encode()
        raw = anchor[:at] + rng.choice(BREAKS) + broken(rng, rest) + b" abc"
        if raw[at] in b"\\\r\n" and Joined(CANONICAL.text(raw)).text.startswith(anchor):
            assert rest_follows(frozenset((b"nothing", anchor[at:])))(raw, at + 1), raw
            found += 1
    assert found > 500


@pytest.mark.parametrize(
    "behind",
    [
        b"learn-image-toggle-spinner",
        rb"learn-image-toggle\ncommit 3fa9",
        b"proje-",
        b"SNAPSHOT",
        rb"toggle\", \"proj-a",
    ],
)
def test_of_a_name_that_begins_like_a_key_nothing_comes(behind: bytes) -> None:
    assert not RUN(b'{"a":"sk-' + behind + b'."}', 9)


@pytest.mark.parametrize("rest", [rb"\nRL", rb"\n", rb"\\n  R", b"\rYPT", rb"\n\"CA"])
def test_of_a_word_at_the_end_of_a_line_nothing_comes(rest: bytes) -> None:
    assert not rest_follows(frozenset((b"CA",)))(b"AC" + rest + b" .", 3)


def test_either_of_two_questions_will_do() -> None:
    both = either(rest_follows(frozenset((b"a",))), rest_follows(frozenset((b"b",))))
    assert both is not None
    assert [both(rb"x\n" + each, 2) for each in (b"a", b"b", b"c")] == [True, True, False]
    assert either(None, both) is None


def test_names_that_begin_like_keys_are_not_made_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of identifiers have hundreds in a megabyte; a region for each takes fifty times as long as the search."""
    read = []
    text = Canonical.text
    monkeypatch.setattr(Canonical, "text", lambda self, raw: read.append(len(raw)) or text(self, raw))
    lines = [
        "sk-learn-image has no AC",
        "fits: key",
        "sk-toggle. Its sig",
        "sk-toggle-spinner-container-learn",
    ] * 99
    body = json.dumps({"a": "\n".join(lines)}).encode()
    assert SCANNER.scan(body).body is body
    assert sum(read) == 0, read


@pytest.mark.parametrize("width", [0, 8, 70, 100, 140])
def test_what_stands_before_an_anchor_belongs_to_it_however_far_its_line_is_indented(width: int) -> None:
    rng = random.Random(6)
    made = (MAKERS["slack-token"](rng) for _ in range(1000))
    token = next(each for each in made if each.startswith(b"xoxe.")).decode()
    body = json.dumps({"a": "token:\n  xoxe.\n" + " " * width + token[5:]}).encode()
    assert re.fullmatch(rb'{"a": "token:\\n  \[REDACTED:slack-token:1\]"}', SCANNER.scan(body).body)


@pytest.mark.parametrize("before", range(150, 420, 7))
def test_a_secret_key_is_found_on_either_side_of_its_id_wherever_they_stand(before: int) -> None:
    """Its place in the text must not matter, though secrets are worked out for blocks of it."""
    rng = random.Random(before)
    key_id, secret = (MAKERS[kind](rng).decode() for kind in ("aws-access-key", "aws-secret-key"))
    filler = "." * before + " "
    for pair in (f"{key_id} {secret}", f"{secret} {key_id}", f"{key_id}{' ' * 250}{secret}"):
        said = SCANNER.scan(json.dumps({"a": filler + pair}).encode())
        assert sorted(each.kind for each in said.findings) == ["aws-access-key", "aws-secret-key"], pair
