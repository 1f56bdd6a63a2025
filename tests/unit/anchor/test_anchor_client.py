"""Submitting to a Rekor: what is believed, and that nothing else is."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from anchor_world import artefact, private_key, submit
from rekor_server import Answer, Rekor, b64, canonical, running

from sovereign_ext.attest import rekor as facts
from sovereign_ext.attest.rekor import V1, V2, RekorKey
from sovereign_ext.errors import AnchorFailed

pytestmark = pytest.mark.services

SIZES = [0, 1, 2, 5, 254, 255, 256, 300, 511, 512, 600]


@pytest.mark.parametrize("others", SIZES)
def test_a_new_entry_is_believed_when_it_is_proven(
    rekor: Rekor, kind_and_key: tuple[str, str], others: int
) -> None:
    """In trees of every shape the entry is the artefact's, at the next index."""
    kind, _ = kind_and_key
    rekor.fill(others)
    what = artefact()
    entry = submit(rekor, kind, what)
    assert (entry.kind, entry.index, entry.body) == (kind, others, rekor.bodies[-1])
    assert entry.proof is not None
    assert entry.proof.size == others + 1
    facts.verify(entry, what, RekorKey(rekor.spki), None)


@pytest.mark.parametrize("later", [0, 1, 3, 200, 700])
@pytest.mark.parametrize("others", [0, 7, 255, 256, 511])
def test_a_duplicate_names_the_entry_that_is_there(
    rekor: Rekor, kind_and_key: tuple[str, str], others: int, later: int
) -> None:
    """The same signature again is the same entry, proven in the tree as it is by then."""
    kind, _ = kind_and_key
    rekor.fill(others)
    what = artefact()
    first = submit(rekor, kind, what)
    rekor.fill(later)
    again = submit(rekor, kind, what)
    assert (again.index, again.body, again.log_id) == (first.index, first.body, first.log_id)
    assert again.proof is not None
    assert again.proof.size == others + 1 + later
    assert len(rekor.bodies) == others + 1 + later


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one() -> None:
    """Between two reads the tile may have been filled, and its partial form removed."""
    with running(Rekor(private_key("ed25519"))) as rekor:
        rekor.fill(10)
        what = artefact()
        submit(rekor, V2, what)
        old = rekor.checkpoint(2).encode()
        rekor.fill(300)

        def fault(_: int, answer: Answer) -> Answer:
            if rekor.requests[-1].endswith("checkpoint"):
                return 200, {}, old
            return (404, {}, b"") if ".p/" in rekor.requests[-1] else answer

        rekor.fault = fault
        entry = submit(rekor, V2, what)
        assert entry.proof is not None
        assert (entry.index, entry.proof.size) == (10, 11)


def test_the_origin_is_compared_when_it_is_known(rekor: Rekor, kind_and_key: tuple[str, str]) -> None:
    """A Rekor's key may serve several logs; the configuration says which one is meant."""
    kind, _ = kind_and_key
    origin = rekor.checkpoint(1 if kind == V1 else 2).partition("\n")[0]
    assert submit(rekor, kind, artefact(), origin=origin).index == 0
    with pytest.raises(AnchorFailed, match="expected 'other'"):
        submit(rekor, kind, artefact(), origin="other")


def test_another_key_is_not_believed(rekor: Rekor, kind_and_key: tuple[str, str]) -> None:
    """Whatever the server signs with, only the configured key counts."""
    kind, key_type = kind_and_key
    for other in ("ed25519", "p256"):
        key = RekorKey(Rekor(private_key(other, 1)).spki)
        with pytest.raises(AnchorFailed, match="answer refused"):
            submit(rekor, kind, artefact(), key=key)
    assert key_type in ("ed25519", "p256")


def test_version_1_counts_over_shards() -> None:
    """The index in the SET is the log's, the one in the proof the shard's."""
    with running(Rekor(private_key("p256"), offset=4711)) as rekor:
        rekor.fill(3)
        entry = submit(rekor, V1, artefact())
        assert entry.proof is not None
        assert (entry.index, entry.proof.index) == (4714, 3)


def test_version_1_may_answer_before_it_has_a_proof() -> None:
    """The SET alone is its promise, and is verified."""

    def without_proof(_: int, answer: Answer) -> Answer:
        document = json.loads(answer[2])
        for entry in document.values():
            del entry["verification"]["inclusionProof"]
        return answer[0], answer[1], canonical(document)

    with running(Rekor(private_key("p256"), fault=without_proof)) as rekor:
        entry = submit(rekor, V1, artefact())
        assert (entry.index, entry.proof) == (0, None)


def change_v2(**changes: Any) -> Callable[[Rekor, Answer], Answer]:
    """Changes members of the answer, named by a dotted path with ``_`` for the dot."""

    def fault(_: Rekor, answer: Answer) -> Answer:
        document = json.loads(answer[2])
        for name, value in changes.items():
            *above, last = name.split("__")
            place = document
            for step in above:
                place = place[step]
            place[last] = value(place[last]) if callable(value) else value
        return answer[0], answer[1], canonical(document)

    return fault


def change_v1(**changes: Any) -> Callable[[Rekor, Answer], Answer]:
    """The same below the UUID."""

    def fault(rekor: Rekor, answer: Answer) -> Answer:
        ((uuid, entry),) = json.loads(answer[2]).items()
        changed = change_v2(**changes)(rekor, (200, {}, canonical(entry)))
        return answer[0], answer[1], canonical({uuid: json.loads(changed[2])})

    return fault


def of_another(version: int) -> Callable[[Rekor, Answer], Answer]:
    """A true answer about somebody else's entry."""

    def fault(rekor: Rekor, answer: Answer) -> Answer:
        return 201, {}, canonical(rekor.entry_v2(1) if version == 2 else rekor.entry_v1(1))

    return fault


def proof_of_another(rekor: Rekor, answer: Answer) -> Answer:
    """Our body under the proof of another leaf."""
    mine, other = json.loads(answer[2]), rekor.entry_v2(1)
    return 201, {}, canonical({**other, "canonicalizedBody": mine["canonicalizedBody"]})


def unsigned(rekor: Rekor, answer: Answer) -> Answer:
    """A checkpoint by somebody else's key under the right name."""
    other = Rekor(private_key("ed25519", 7), name=rekor.name, bodies=rekor.bodies)
    return change_v2(inclusionProof__checkpoint__envelope=other.checkpoint(2))(rekor, answer)


def constant(status: int, body: bytes = b"", **headers: str) -> Callable[[Rekor, Answer], Answer]:
    return lambda _rekor, _answer: (
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body,
    )


def flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return b64(bytes(raw))


BAD = {
    "down in the middle": (V2, lambda *_: None, "RemoteProtocolError"),
    "500": (V2, constant(500, b"oops\x00\n<html>"), "answered with 500: oops"),
    "503": (V1, constant(503, retry_after="7"), "answered with 503"),
    "400": (V2, constant(400, b'{"code":3}'), 'answered with 400: {"code":3}'),
    "a redirect": (V2, constant(307, location="http://127.0.0.1:1/"), "answered with 307"),
    "empty": (V2, constant(201), "malformed Rekor answer"),
    "garbage": (V2, constant(201, b"\xff\x00garbage"), "malformed Rekor answer"),
    "HTML": (V1, constant(200, b"<html>"), "malformed Rekor answer"),
    "another JSON": (V1, constant(201, b"[]"), "malformed Rekor answer"),
    "no entry": (V1, constant(201, b"{}"), "0 entries"),
    "deep JSON": (V1, constant(201, b"[" * 100_000), "malformed Rekor answer"),
    "huge": (V2, constant(201, b" " * (2 << 20)), "more than 1048576 bytes"),
    "wrong index": (V2, change_v2(logIndex="3"), "comes with a proof of entry"),
    "wrong index in the proof": (V2, change_v2(inclusionProof__logIndex="3"), "comes with a proof of entry"),
    "wrong index in both": (V2, change_v2(logIndex="3", inclusionProof__logIndex="3"), "inclusion proof"),
    "negative index": (V2, change_v2(logIndex="-1"), "malformed Rekor answer"),
    "index as a float": (V2, change_v2(logIndex=1.5), "malformed Rekor answer"),
    "wrong body": (V2, change_v2(canonicalizedBody=flip), "not the one that was submitted"),
    "another's entry": (V2, of_another(2), "not the one that was submitted"),
    "proof for another leaf": (V2, proof_of_another, "inclusion proof gives root"),
    "proof cut": (V2, change_v2(inclusionProof__hashes=[]), "inclusion proof"),
    "proof of short hashes": (V2, change_v2(inclusionProof__hashes=["AA=="]), "malformed Rekor answer"),
    "endless proof": (V2, change_v2(inclusionProof__hashes=[b64(bytes(32))] * 65), "malformed Rekor answer"),
    "no proof": (V2, change_v2(inclusionProof=None), "no inclusion proof"),
    "other root": (V2, change_v2(inclusionProof__rootHash=flip), "inclusion proof gives root"),
    "other size": (V2, change_v2(inclusionProof__treeSize="9"), "inclusion proof"),
    "bad signature": (V2, unsigned, "no signature by a known key"),
    "no note": (V2, change_v2(inclusionProof__checkpoint__envelope="hello"), "malformed note"),
    "other log": (V2, change_v2(logId__keyId=flip), "the entry is of log"),
    "other kind": (V2, change_v2(kindVersion__kind="dsse"), "is a dsse"),
    "a time": (V2, change_v2(integratedTime="1767225600"), "a time that nothing vouches for"),
    "v1: wrong body": (V1, change_v1(body=flip), "UUID"),
    "v1: another's entry": (V1, of_another(1), "not the one that was submitted"),
    "v1: wrong index": (V1, change_v1(logIndex=12), "bad signature"),
    "v1: other time": (V1, change_v1(integratedTime=1), "bad signature"),
    "v1: bad SET": (V1, change_v1(verification__signedEntryTimestamp=flip), "bad signature"),
    "v1: no SET": (V1, change_v1(verification__signedEntryTimestamp=None), "malformed Rekor answer"),
    "v1: other log": (V1, change_v1(logID="00" * 32), "the entry is of log"),
    "v1: wrong index in the proof": (
        V1,
        change_v1(verification__inclusionProof__logIndex=0),
        "inclusion proof",
    ),
    "v1: bad proof": (V1, change_v1(verification__inclusionProof__hashes=["00" * 32]), "inclusion proof"),
    "v1: duplicate nowhere": (V1, constant(409), "does not say where"),
    "v1: duplicate elsewhere": (
        V1,
        constant(409, location="http://169.254.0.1/latest"),
        "does not say where",
    ),
    "v1: duplicate that is not there": (
        V1,
        lambda rekor, answer: (
            constant(409, location="/api/v1/log/entries/" + "0" * 64)(rekor, answer)
            if rekor.requests[-1].startswith("POST")
            else answer
        ),
        "answered with 404",
    ),
    "duplicate without index": (V2, constant(409), "does not name the existing index"),
    "duplicate with a strange index": (
        V2,
        constant(409, x_log_index="0x1"),
        "does not name the existing index",
    ),
    "duplicate beyond the tree": (
        V2,
        lambda rekor, answer: (
            constant(409, x_log_index="99")(rekor, answer)
            if rekor.requests[-1].startswith("POST")
            else answer
        ),
        "index 99 is named, the tree has size",
    ),
    "duplicate of another's entry": (
        V2,
        lambda rekor, answer: (
            constant(409, x_log_index="1")(rekor, answer) if rekor.requests[-1].startswith("POST") else answer
        ),
        "a duplicate, but: inclusion proof gives root",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_whatever_is_wrong_is_refused(
    case: tuple[str, Callable[[Rekor, Answer], Answer | None], str],
) -> None:
    """Each fault with its reason; none gives an entry."""
    kind, fault, reason = case
    with running(Rekor(private_key("p256" if kind == V1 else "ed25519"))) as rekor:
        rekor.fill(5)
        rekor.fault = lambda _, answer: fault(rekor, answer)
        with pytest.raises(AnchorFailed) as refused:
            submit(rekor, kind, artefact())
    assert reason in str(refused.value)
    assert str(refused.value).isprintable()


def test_what_a_busy_server_asks_for_is_told() -> None:
    """``Retry-After`` in seconds; a date or nonsense is as none."""
    with running(Rekor(private_key("ed25519"))) as rekor:
        for header, expected in (("7", 7), ("99999", 86_400), ("Wed, 21 Oct 2026", None), ("-1", None)):
            rekor.fault = lambda *_, said=header: (429, {"retry-after": said}, b"")
            with pytest.raises(AnchorFailed) as refused:
                submit(rekor, V2, artefact())
            assert refused.value.retry_after_s == expected
            assert not refused.value.sign_anew


def test_a_duplicate_that_cannot_be_proven_asks_for_another_signature() -> None:
    """Some operators serve no tiles at this URL; a fresh signature makes a fresh entry with its proof."""
    with running(Rekor(private_key("ed25519"), serves_tiles=False)) as rekor:
        what = artefact()
        submit(rekor, V2, what)
        with pytest.raises(AnchorFailed, match="GET /api/v2/checkpoint was answered with 404") as refused:
            submit(rekor, V2, what)
        assert refused.value.sign_anew
        assert submit(rekor, V2, artefact()).index == 1


def test_a_slow_server_is_given_up() -> None:
    """Nothing waits longer than the time limit, also when bytes trickle."""
    over = threading.Event()

    def slow(_: int, answer: Answer) -> Answer:
        over.wait(20)
        return answer

    with running(Rekor(private_key("ed25519"), fault=slow)) as rekor:
        try:
            with pytest.raises(AnchorFailed, match=r"no complete answer within 0\.2 s|ReadTimeout"):
                submit(rekor, V2, artefact(), timeout_s=0.2)
        finally:
            over.set()


def test_nobody_listens() -> None:
    """A refused connection is a failed attempt like any other."""
    with running(Rekor(private_key("ed25519"))) as rekor:
        pass
    with pytest.raises(AnchorFailed, match="ConnectError"):
        submit(rekor, V2, artefact())


def test_the_certificate_must_be_by_the_given_authority() -> None:
    """An anchor with a CA of its own does not take the world's."""
    pem = ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(binary_form=True)[0])
    with running(Rekor(private_key("ed25519"))) as rekor:
        plain = replace(rekor, url=rekor.url.replace("http://", "https://"))
        with pytest.raises(AnchorFailed, match="ConnectError"):
            submit(plain, V2, artefact(), roots=pem.encode())
