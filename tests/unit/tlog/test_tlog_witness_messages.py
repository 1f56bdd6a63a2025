"""Cosignatures and add-checkpoint messages: against Go's, and on hostile input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from mirror_world import Branch, cosigner, note_signer, raw_public

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.addcheckpoint import (
    AddCheckpoint,
    encode_size,
    parse_add_checkpoint,
    parse_size,
    with_lines,
)
from sovereign_ext.tlog.cosignature import (
    MAX_TIME_S,
    Cosigner,
    CosignerKey,
    cosign,
    find_cosignature,
    parse_cosigner_key,
    verify_ack,
    verify_cosignatures,
)
from sovereign_ext.tlog.note import Note, Signature, open_note, parse_note, parse_verifier

VECTORS = Path(__file__).parents[2] / "vectors" / "tlog" / "cosignatures.json"
BRANCH = Branch(20)
ONE, TWO = cosigner("w.example/1", 9), cosigner("w.example/2", 8)


def cosigned(size: int, *cosigners: Cosigner, time_s: int = 77) -> Note:
    note = parse_note(BRANCH.note(size))
    return Note(note.text, note.signatures + tuple(cosign(note.text, one, time_s) for one in cosigners))


def test_cosignatures_are_those_of_go(go_judge: Any) -> None:
    """The vectors come from Go, from the specification's text; keys, ids and whole lines are ours to the byte."""
    made = go_judge("cosignatures")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == json.loads(VECTORS.read_bytes())
    for vector in json.loads(VECTORS.read_bytes())["cosignatures"]:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
        ours = Cosigner(CosignerKey(vector["name"], raw_public(key)), key.sign)
        assert ours.key.encode() == vector["vkey"]
        assert parse_cosigner_key(vector["vkey"]) == ours.key
        assert cosign(vector["text"], ours, vector["time"]).line() == vector["line"]
        found = find_cosignature(with_lines(vector["text"], vector["line"].encode()), ours.key)
        assert found is not None
        assert found[1].time_s == vector["time"]


def test_go_verifies_our_cosignatures(tmp_path: Path, go_judge: Any) -> None:
    """sumdb opens the note with the log's key and two cosigners; one changed byte and it does not."""
    file = tmp_path / "note"
    keys = [BRANCH.signer.verifier.encode(), ONE.key.encode(), TWO.key.encode()]
    file.write_bytes(cosigned(20, ONE, TWO, time_s=1_767_225_600).encode())
    result = go_judge("cosigned", str(file), *keys)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "w.example/1 1767225600\nw.example/2 1767225600\n"
    assert go_judge("cosigned", str(file), *keys[:2], cosigner("w.example/3", 7).key.encode()).returncode == 1
    file.write_bytes(cosigned(20, ONE, TWO).encode().replace(b"\n20\n", b"\n21\n"))
    assert go_judge("cosigned", str(file), *keys).returncode == 1


def test_the_two_kinds_of_key_are_not_taken_for_each_other() -> None:
    """A log's verifier key is no witness's, and the other way round, though both are Ed25519."""
    with pytest.raises(VerificationError, match="not a witness's verifier key"):
        parse_cosigner_key(BRANCH.signer.verifier.encode())
    with pytest.raises(VerificationError, match="not an Ed25519 verifier key"):
        parse_verifier(ONE.key.encode())
    good = ONE.key.encode()
    name, key_id, encoded = good.split("+", 2)
    for bad in (
        "",
        "x",
        f"{name}+{key_id}",
        f"{name}+00000000+{encoded}",
        good[:-4],
        f"other+{key_id}+{encoded}",
    ):
        with pytest.raises(VerificationError):
            parse_cosigner_key(bad)


def test_a_plain_signature_by_the_same_key_is_no_cosignature() -> None:
    """Without time and header line the same key's signature does not count: its id and its message differ."""
    note = parse_note(BRANCH.note(5, note_signer("w.example/1", 9)))
    assert find_cosignature(note, ONE.key) is None
    plain = Signature(ONE.key.name, ONE.key.key_id, ONE.sign(note.text.encode()))
    with pytest.raises(VerificationError, match="has 64 bytes, expected 72"):
        find_cosignature(Note(note.text, (plain,)), ONE.key)


@given(st.integers(0, 71), st.integers(1, 255))
def test_any_changed_byte_of_a_cosignature_is_refused(at: int, flip: int) -> None:
    """The time is signed as well as the tree."""
    note = cosigned(20, ONE)
    good = note.signatures[1]
    raw = bytearray(good.signature)
    raw[at] ^= flip
    changed = Note(note.text, (note.signatures[0], Signature(good.name, good.key_id, bytes(raw))))
    with pytest.raises(VerificationError):
        verify_cosignatures(changed, [ONE.key])
    with pytest.raises(VerificationError):
        open_note(changed.encode(), [BRANCH.signer.verifier, ONE.key])


def test_times_out_of_range_are_not_signed() -> None:
    """C2SP: at most 2^63 - 1, and a witness never leaves it out."""
    for time_s in (0, -1, MAX_TIME_S + 1):
        with pytest.raises(ValueError, match="time"):
            cosign("x\n", ONE, time_s)


def test_verify_cosignatures_counts_keys_not_names() -> None:
    """Absent and unknown cosigners are left out; one key under two names counts once."""
    alias = Cosigner(CosignerKey("w.example/alias", ONE.key.public_key), ONE.sign)
    note = cosigned(20, ONE, alias, cosigner("unknown.example", 5))

    class AtLeastTwo:
        def met(self, keys: Any) -> bool:
            return len(keys) >= 2

    keys = [ONE.key, alias.key, TWO.key]
    assert verify_cosignatures(note, keys, AtLeastTwo()).quorum is False
    found = verify_cosignatures(note, keys)
    assert ([c.key for c in found.cosignatures], found.quorum) == ([ONE.key], None)
    both = verify_cosignatures(cosigned(20, ONE, TWO), keys, AtLeastTwo())
    assert ([c.time_s for c in both.cosignatures], both.quorum) == ([77, 77], True)


def test_a_mirror_s_word_needs_both_signatures() -> None:
    """The log's, without which anybody's tree could be mirrored, and the mirror's."""
    log = BRANCH.signer.verifier
    checkpoint, ack = verify_ack(cosigned(20, ONE).encode(), log, ONE.key)
    assert (checkpoint, ack.name, ack.size, ack.time_s) == (BRANCH.checkpoint(20), "w.example/1", 20, 77)
    with pytest.raises(VerificationError, match=r"not signed by w\.example/2"):
        verify_ack(cosigned(20, ONE).encode(), log, TWO.key)
    unsigned = Note(BRANCH.checkpoint(20).text(), cosigned(20, ONE).signatures[1:])
    with pytest.raises(VerificationError, match="no signature by a known key"):
        verify_ack(unsigned.encode(), log, ONE.key)


hashes = st.binary(min_size=32, max_size=32)


@given(st.integers(0, 2**63 - 1), st.lists(hashes, max_size=63), st.binary(max_size=200))
def test_any_request_survives(old: int, proof: list[bytes], note: bytes) -> None:
    """Writing and reading gives the request back, whatever the note holds."""
    request = AddCheckpoint(old, tuple(proof), note)
    assert parse_add_checkpoint(request.encode()) == request


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_arbitrary_bodies_are_refused_or_well_formed(body: bytes) -> None:
    """Parsing raises nothing but VerificationError, and what it takes has one spelling."""
    try:
        request = parse_add_checkpoint(body)
    except VerificationError:
        return
    assert request.encode() == body


BAD_BODIES = {
    "empty": b"",
    "no old line": b"\nnote",
    "no blank line": b"old 0\nnote\n",
    "no size": b"old \n\nnote",
    "leading zero": b"old 01\n\nnote",
    "sign": b"old +1\n\nnote",
    "negative": b"old -1\n\nnote",
    "other digits": "old ٣\n\nnote".encode(),
    "underscore": b"old 1_0\n\nnote",
    "too large": b"old 9223372036854775808\n\nnote",
    "carriage return": b"old 0\r\n\nnote",
    "capital": b"Old 0\n\nnote",
    "two spaces": b"old  0\n\nnote",
    "short hash": b"old 1\nAAAA\n\nnote",
    "no base64": b"old 1\n" + b"!" * 44 + b"\n\nnote",
    "other spelling": b"old 1\n" + b"A" * 42 + b"B=" + b"\n\nnote",
    "64 proof lines": b"old 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\nnote",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_malformed_requests(name: str) -> None:
    """Every deviation from the form is refused."""
    with pytest.raises(VerificationError):
        parse_add_checkpoint(BAD_BODIES[name])


def test_sizes_of_a_409() -> None:
    """Decimal digits and a newline, nothing else."""
    assert parse_size(encode_size(0)) == 0
    assert parse_size(encode_size(20852014)) == 20852014
    for bad in (b"", b"5", b"05\n", b"-5\n", b"5\n\n", b" 5\n", b"5\r\n", b"99999999999999999999\n"):
        with pytest.raises(VerificationError):
            parse_size(bad)


def test_an_answer_is_signature_lines_and_nothing_else() -> None:
    """A witness cannot smuggle another text in: what is verified is our checkpoint with its lines."""
    text = BRANCH.checkpoint(20).text()
    line = cosign(text, ONE, 77).line().encode()
    assert with_lines(text, line + line).signatures[0].name == "w.example/1"
    for bad in (
        b"",
        b"\n" + line,
        b"x\n\n" + line,
        line + b"\n" + line,
        line[:-1],
        b"{}",
        b"\xff",
        line * 101,
    ):
        with pytest.raises(VerificationError):
            with_lines(text, bad)
