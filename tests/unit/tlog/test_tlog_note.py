"""Signed notes and checkpoints on hostile input."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from sovereign_ext.tlog.note import (
    Signer,
    Verifier,
    open_note,
    parse_note,
    parse_verifier,
    sign_note,
    valid_name,
)

ORIGIN = "sovereign.local/log"


def signer(seed: int, name: str = ORIGIN) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(Verifier(name, raw), key.sign)


OURS, THEIRS = signer(1), signer(2, "witness.example")
GOOD = sign_checkpoint(Checkpoint(ORIGIN, 7, b"\x05" * 32), [OURS])

texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n")).map(
    lambda t: t + "\n"
)


@given(texts)
def test_any_text_survives(text: str) -> None:
    """Signing and opening gives the text back, blank lines and dashes included."""
    note = sign_note(text, [OURS, THEIRS])
    opened = open_note(note.encode(), [THEIRS.verifier])
    assert opened == note
    assert opened.text == text


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    """Nothing that we did not sign opens, and parsing raises nothing but VerificationError."""
    with pytest.raises(VerificationError):
        open_note(data, [OURS.verifier])


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    """One changed byte, wherever it is, and the checkpoint no longer opens."""
    damaged = bytearray(GOOD)
    damaged[position] ^= flip
    with pytest.raises(VerificationError):
        open_checkpoint(bytes(damaged), ORIGIN, [OURS.verifier])


@given(st.integers(0, len(GOOD) - 1))
def test_a_cut_note_is_refused(length: int) -> None:
    """No prefix of a note is a note."""
    with pytest.raises(VerificationError):
        open_note(GOOD[:length], [OURS.verifier])


def test_unknown_signatures_are_ignored_and_known_bad_ones_are_not() -> None:
    """A stranger's line does no harm; a bad line under a known key fails the note, even beside a good one."""
    text = "text\n"
    note = sign_note(text, [THEIRS, OURS])
    assert open_note(note.encode(), [OURS.verifier]).signatures == note.signatures
    liar = Signer(THEIRS.verifier, OURS.sign)
    with pytest.raises(VerificationError, match=r"bad signature by witness\.example"):
        open_note(sign_note(text, [OURS, liar]).encode(), [OURS.verifier, THEIRS.verifier])
    with pytest.raises(VerificationError, match="no signature by a known key"):
        open_note(sign_note(text, [THEIRS]).encode(), [OURS.verifier])


def test_key_id_and_name_must_both_match() -> None:
    """The same key under another name is another key."""
    renamed = Signer(Verifier("other.example", OURS.verifier.public_key), OURS.sign)
    with pytest.raises(VerificationError):
        open_note(sign_note("x\n", [renamed]).encode(), [OURS.verifier])


def test_too_many_signatures_are_refused() -> None:
    """A note cannot be made to cost more than a hundred signature lines."""
    line = f"— n {b64encode(bytes(68)).decode()}\n"
    assert len(parse_note(("x\n\n" + line * 100).encode()).signatures) == 100
    with pytest.raises(VerificationError, match="101 signature lines"):
        parse_note(("x\n\n" + line * 101).encode())


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "\ud800"])
def test_invalid_names(name: str) -> None:
    """A name that would break the line format is refused before anything is signed under it."""
    assert not valid_name(name)
    with pytest.raises(ValueError, match="invalid key name"):
        Verifier(name, bytes(32))


@given(st.text(max_size=120))
def test_arbitrary_verifier_keys_are_refused(text: str) -> None:
    """Reading a key raises nothing but VerificationError."""
    with pytest.raises(VerificationError):
        parse_verifier(text)


def test_verifier_key_with_a_wrong_id_is_refused() -> None:
    """The id in a key string guards against typing errors."""
    name, key_id, key = OURS.verifier.encode().split("+", 2)
    with pytest.raises(VerificationError, match="has id"):
        parse_verifier(f"{name}+{int(key_id, 16) ^ 1:08x}+{key}")


@pytest.mark.parametrize("text", ["no newline", "a\rb\n", "\x00\n", "\ud800\n"])
def test_texts_that_cannot_be_notes(text: str) -> None:
    """We do not sign what others would not parse."""
    with pytest.raises(ValueError, match="text of a note"):
        sign_note(text, [OURS])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n7\n",
        f"o\n07\n{b64encode(bytes(32)).decode()}\n",
        f"o\n-7\n{b64encode(bytes(32)).decode()}\n",
        f"o\n7\n{b64encode(bytes(31)).decode()}\n",
        "o\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        f"\n7\n{b64encode(bytes(32)).decode()}\n",
        f"o\n7\n{b64encode(bytes(32)).decode()}\n\nx\n",
        f"o\n7\n{b64encode(bytes(32)).decode()}",
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    """Leading zeros, short roots, sloppy base64 and empty lines are refused."""
    with pytest.raises(VerificationError, match="malformed checkpoint"):
        parse_checkpoint(text)


def test_checkpoint_with_extensions() -> None:
    """Extension lines of other logs are kept."""
    checkpoint = Checkpoint(ORIGIN, 7, bytes(32), ("Timestamp: 1", "x"))
    assert open_checkpoint(sign_checkpoint(checkpoint, [OURS]), ORIGIN, [OURS.verifier])[0] == checkpoint


def test_checkpoint_of_another_origin_is_refused() -> None:
    """A checkpoint of another log under the same key does not count."""
    with pytest.raises(VerificationError, match="expected 'elsewhere'"):
        open_checkpoint(GOOD, "elsewhere", [OURS.verifier])
