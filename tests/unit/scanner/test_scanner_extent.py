"""Where a credential ends, and that the first line of a wrapped one is not taken for the whole."""

from __future__ import annotations

import base64
import random
import re

import pytest
from makers_six import BASE62, MAKERS, draw

from sovereign_ext.scanner.extent import is_word, padded, sized, unsized

LETTERS = re.compile(rb"[0-9A-Za-z]{1,300}+")
BASE64 = re.compile(rb"[0-9A-Za-z/+]{1,4000}+")
BREAKS = [b"\n", b"\r\n", b"\n    ", b" \\\n  ", b"\n> ", b"\r\t"]


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("width", [7, 20, 31, 40, 60])
def test_the_first_line_of_a_known_length_is_not_the_whole(line_break: bytes, width: int) -> None:
    """Wrapped at any width, over two lines or ten: not found line by line, and whole once the lines are joined."""
    rng = random.Random(width)
    secret = draw(rng, BASE62, 99)
    lines = [secret[at : at + width] for at in range(0, 99, width)]
    text = b"k=" + line_break.join(lines) + b"\nNext line"
    assert sized(text, 2, LETTERS, (24, 99), 7) is None
    assert sized(b"k=" + secret + b"Next line", 2, LETTERS, (24, 99), 7) == 101


@pytest.mark.parametrize(
    "following", [b"", b"\nNext line of text", b"\n\nREGION=eu", b"\n  - name: x", b"\r\n42\r\n", b"."]
)
def test_a_whole_one_stands_whatever_the_next_line_says(following: bytes) -> None:
    """A known length, and an unknown one, before words, numbers and nothing."""
    rng = random.Random(2)
    for size in (24, 30, 99):
        text = draw(rng, BASE62, size) + following
        assert sized(text, 0, LETTERS, (24, 99), 7) == size


def test_a_run_that_is_missing_has_no_end() -> None:
    """Neither form finds anything where no character of the credential stands."""
    assert sized(b"k= x", 2, LETTERS, (24,), 1) is None
    assert unsized(b"k= x", 2, LETTERS, ()) is None


def test_of_an_unknown_length_the_next_line_tells() -> None:
    """Base64 that goes on is wrapped; words, and another credential of the kind, are the next line's own."""
    rng = random.Random(4)
    body = base64.b64encode(rng.randbytes(300))
    assert unsized(body[:120] + b"\n" + body[120:], 0, BASE64, ()) is None
    assert unsized(body + b"\nand so on", 0, BASE64, ()) == 400
    assert unsized(body + b"\nFwoG" + body, 0, BASE64, (b"FwoG",)) == 400
    assert unsized(body + b"\n\n" + body, 0, BASE64, ()) == 400
    assert unsized(body[:396] + b"\nLA==", 0, BASE64, ()) is None
    assert unsized(body + b"\nDEBUG=1", 0, BASE64, ()) == 400
    assert unsized(body + b'\nDEBUG="1"', 0, BASE64, ()) == 400


@pytest.mark.parametrize("size", [300, 301, 302])
def test_padding_belongs_to_base64_and_a_word_that_breaks_it_does_not(size: int) -> None:
    """With the signs it takes, and without the next line's word where there are none."""
    body = base64.b64encode(random.Random(size).randbytes(size))
    end = len(body.rstrip(b"="))
    assert padded(body + b'"', 0, end) == len(body)
    if end == len(body):
        assert padded(body + b"Please", 0, end + 6) == end
        assert padded(body + b"RUN", 0, end + 3) == end


@pytest.mark.parametrize(
    "text", [b"Next", b"next", b"REGION", b"AWS_REGION", b"-next", b"2026", b"_name", b"Please-do"]
)
def test_words(text: bytes) -> None:
    """Of one case or with a capital, numbers, and names that begin so."""
    assert is_word(text, 0, len(text))


@pytest.mark.parametrize("text", [b"", b"a", b"aB3", b"x1y2", b"NeXt", b"/ab", b"4f"])
def test_no_words(text: bytes) -> None:
    """Single characters and mixtures, as in random texts."""
    assert not is_word(text, 0, len(text))


def test_random_texts_are_seldom_words() -> None:
    """Of eight characters fewer than one in a hundred: a longer rest of a credential is not taken for a word."""
    rng = random.Random(8)
    assert sum(is_word(draw(rng, BASE62, 8), 0, 8) for _ in range(20_000)) < 200


@pytest.mark.parametrize(
    "kind", sorted(set(MAKERS) - {"aws-session-token", "aws-bedrock-key", "aws-secret-key", "slack-webhook"})
)
def test_no_kind_is_found_in_the_first_lines_of_a_wrapped_secret(kind: str) -> None:
    """Each made secret, broken at each place: with the lines as they are, none of its beginnings is taken for it."""
    from test_scanner_six import found  # noqa: PLC0415

    rng = random.Random(31)
    for _ in range(6):
        secret = MAKERS[kind](rng)
        if secret.startswith(b"xoxd-"):  # of unknown length: a last line that is a word cannot be told
            continue
        for at in range(4, len(secret) - 2):
            text = b'"' + secret[:at] + b"\n" + secret[at:] + b'"'
            taken = [one for name, one in found(text) if name == kind]
            assert taken == [], (at, secret)


def test_a_short_run_costs_no_look_at_the_next_lines() -> None:
    """What is too short anyway is given up at once."""
    assert sized(b"abc\n" + b"a\n" * 100, 0, LETTERS, (24,), 8) is None
    assert sized(b"k7Hq2", 0, LETTERS, (24,), 5) == 5
