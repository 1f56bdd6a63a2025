"""Where a credential ends when its lines were joined, and which of the next ones belong to it."""

from __future__ import annotations

import base64
import random
import re

import pytest
from asking import found
from makers_six import BASE62, MAKERS, draw

from sovereign_ext.scanner.base import Lines
from sovereign_ext.scanner.canonical import Joined
from sovereign_ext.scanner.extent import begins_line, encoded, ends, is_word, sized, stop_in, unsized
from sovereign_ext.scanner.registry import DETECTORS

LETTERS = re.compile(rb"[0-9A-Za-z]{1,300}+")
BASE64 = re.compile(rb"[0-9A-Za-z/+]{1,4000}+")
BREAKS = [b"\n", b"\r\n", b"\n    ", b" \\\n  ", b"\n> ", b"\r\t"]


def joined(text: bytes, credentials: tuple[int, ...] = ()) -> Lines:
    return Joined(text).lines(credentials)


def test_lines_know_where_they_were_joined() -> None:
    """And where an empty line or a credential begins a text of its own."""
    text = joined(b"one\n  two\r\n\r\nthree\n> four", (20,))
    assert text == b"onetwothreefour"
    assert [at for at in range(len(text)) if begins_line(text, at)] == [3, 6, 11]
    assert [stop_in(text, start, len(text)) for start in (0, 6)] == [6, 11]
    assert not any(begins_line(b"one\ntwo", at) for at in range(7))


def test_a_line_s_end_is_an_end() -> None:
    """As is what belongs to no credential."""
    text = joined(b"ab\ncd.")
    assert [at for at in range(len(text) + 1) if ends(text, at, LETTERS)] == [2, 4, 5]


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("width", [7, 20, 31, 40, 60])
def test_a_length_that_is_known_is_the_end(line_break: bytes, width: int) -> None:
    """Wrapped at any width, over two lines or ten, before a next line that would belong to it by its characters."""
    secret = draw(random.Random(width), BASE62, 99)
    lines = [secret[at : at + width] for at in range(0, 99, width)]
    for following in (b"Next line", b"x7Yq", b"", b"DEBUG=1"):
        text = joined(b"k=" + line_break.join([*lines, following]))
        assert sized(text, 2, LETTERS, (24, 99), 7) == 101
    assert sized(joined(secret[:24] + line_break + secret[24:]), 0, LETTERS, (24, 99), 7) == 99


@pytest.mark.parametrize(
    "following", [b"", b"\nNext line of text", b"\n\nx7Yq2", b"\n  - name: x", b"\r\n42\r\n", b"."]
)
def test_words_of_the_next_line_are_left(following: bytes) -> None:
    """Behind a known length and an unknown one; and whatever stands behind an empty line."""
    rng = random.Random(2)
    for size in (24, 30, 99):
        text = joined(draw(rng, BASE62, size) + following)
        assert sized(text, 0, LETTERS, (24, 99), 7) == size


def test_of_an_unknown_length_all_lines_belong_to_it_but_for_words_at_the_end() -> None:
    """Where the next lines are no words; and where a mark that was opened before it is closed behind them."""
    rng = random.Random(4)
    first, second = draw(rng, BASE62, 60), draw(rng, BASE62, 17)
    assert unsized(joined(first + b"\nzt\n" + second + b"\nend"), 0, LETTERS) == 79
    assert unsized(joined(first + b"\nzt"), 0, LETTERS) == 60
    assert unsized(joined(first[:20] + b"\nzt"), 0, LETTERS, 22) == 22
    for opening, closing in (
        (b'"', b'" #'),
        (b"`", b"` is"),
        (b"(x ", b") y"),
        (b'-H "A: ', b'" -d'),
        (b"?k=", b"&a=1"),
    ):
        text = joined(opening + first + b"\nzt" + closing)
        assert unsized(text, len(opening), LETTERS) == len(opening) + 62, opening
    assert unsized(joined(b'"It is ' + first + b'\nzt"}'), 7, LETTERS) == 67  # the string that all stands in
    assert unsized(joined(first + b"\n" + second, (61,)), 0, LETTERS) == 60  # another credential


def test_a_run_that_is_missing_has_no_end() -> None:
    """Neither form finds anything where no character of the credential stands, or too few."""
    assert sized(b"k= x", 2, LETTERS, (24,), 1) is None
    assert unsized(b"k= x", 2, LETTERS) is None
    assert encoded(b"k= x", 2, BASE64) is None
    assert sized(joined(b"abc\n" + b"a\n" * 2), 0, LETTERS, (24,), 8) is None


@pytest.mark.parametrize("size", [300, 301, 302])
def test_base64_ends_with_its_padding_wherever_it_is_broken(size: int) -> None:
    """Also within the padding, and where its last line is a word; the next line is no part of it."""
    body = base64.b64encode(random.Random(size).randbytes(size))
    for at in (*range(60, 90), *range(len(body) - 5, len(body))):
        for following in (b"", b'"', b"\nNext line", b"\nDEBUG=1", b'\nDEBUG="1"', b" -p"):
            assert encoded(joined(body[:at] + b"\n" + body[at:] + following), 0, BASE64) == len(body), (
                at,
                following,
            )
    assert encoded(body + b'"', 0, BASE64) == len(body)


def test_where_base64_may_be_whole_words_tell() -> None:
    """Four letters that are a word are left, and such as are none are not."""
    body = base64.b64encode(random.Random(4).randbytes(300))
    assert encoded(joined(body + b"\nbest, A."), 0, BASE64) == 400
    assert encoded(joined(body + b"\nx7Yq, A."), 0, BASE64) == 404
    assert encoded(joined(body + b"\nbest\nx7Yq, A."), 0, BASE64) == 408
    assert encoded(joined(body + b"\n1\n" + body[1:]), 0, BASE64) == 800
    assert encoded(joined(body + b"\n" + body, (401,)), 0, BASE64) == 400


@pytest.mark.parametrize(
    "text",
    [b"Next", b"next", b"REGION", b"AWS_REGION", b"-next", b"2026", b"_name", b"Please-do", b"A", b"---"],
)
def test_words(text: bytes) -> None:
    """Of one case or with a capital, numbers, names that are made of such, and marks."""
    assert is_word(text, 0, len(text))


@pytest.mark.parametrize("text", [b"", b"b", b"aB3", b"x1y2", b"NeXt", b"/ab", b"4f", b"LLHH-M_x9", b"_"])
def test_no_words(text: bytes) -> None:
    """Single characters and mixtures, as in random texts."""
    assert not is_word(text, 0, len(text))


def test_random_texts_are_seldom_words() -> None:
    """Of eight characters fewer than one in a hundred: a longer rest of a credential is not taken for a word."""
    rng = random.Random(8)
    assert sum(is_word(draw(rng, BASE62, 8), 0, 8) for _ in range(20_000)) < 200


@pytest.mark.parametrize("kind", sorted(set(MAKERS) - {"aws-secret-key", "slack-webhook"}))
def test_each_kind_is_exact_wherever_it_is_broken(kind: str) -> None:
    """Made secrets, broken at places all along them: with the lines joined, each is found whole and no more."""
    rng = random.Random(31)
    for _ in range(4):
        secret = MAKERS[kind](rng)
        for at in (
            *range(4, len(secret) - 5, max(3, len(secret) // 12)),
            *range(len(secret) - 5, len(secret) - 2),
        ):
            text = joined(b'"' + secret[:at] + b"\n" + secret[at:] + b'"\nNext')
            taken = [one for name, one in found(text, DETECTORS) if name == kind]
            assert taken == [secret], (at, secret)
