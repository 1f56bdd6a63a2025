"""Receipts verify offline; each kind of tampering fails the step that is there for it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attest_world import (
    BODY,
    DELIVERED_BODY,
    DELIVERED_STREAM,
    KEY,
    ORIGIN,
    REQUEST,
    STREAM,
    Issued,
    facts,
    write_json,
)
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.attest import commit, dsse
from sovereign_ext.attest.entry import EntrySealer
from sovereign_ext.attest.keys import SigningKeys, key_hint
from sovereign_ext.attest.promise import Promise
from sovereign_ext.attest.receipt import ReceiptParts, build_receipt
from sovereign_ext.attest.statement import opening, outcome_statement
from sovereign_ext.attest.verify import Report, Status, TrustedKeys, verify_receipt
from sovereign_ext.cli.main import main
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, sign_checkpoint
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import Verifier

STEPS = ["envelope", "entry", "inclusion", "checkpoint", "promise", "request", "response"]
Tamper = Callable[[dict[str, Any]], None]


def pinned(issued: Issued) -> TrustedKeys:
    return TrustedKeys(issued.keys.log, issued.keys.envelope, issued.keys.promise)


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status is Status.FAILED]


def test_an_untouched_receipt_passes_every_step(issued: Issued) -> None:
    """With all keys pinned and both files given, seven steps are ok and the statement is shown."""
    report = verify_receipt(issued.json, pinned(issued), request=REQUEST, response=DELIVERED_BODY)
    assert [(check.number, check.name, check.status) for check in report.checks] == [
        (number, name, Status.OK) for number, name in enumerate(STEPS, 1)
    ]
    assert (report.ok, report.pinned, report.index, report.origin) == (True, True, 2, ORIGIN)
    assert report.statement["predicate"]["provider"] == "vllm-b"
    assert not any("taken from" in check.detail for check in report.checks)


def test_without_keys_it_says_where_they_came_from(issued: Issued) -> None:
    """A receipt checked with its own keys passes, but no step keeps quiet about that."""
    report = verify_receipt(issued.json, TrustedKeys())
    assert report.ok
    assert not report.pinned
    assert [check.name for check in report.checks if "taken from" in check.detail] == [
        "envelope",
        "checkpoint",
        "promise",
    ]
    assert [check.name for check in report.checks if check.status is Status.SKIPPED] == [
        "request",
        "response",
    ]


@pytest.mark.parametrize("delivered", [DELIVERED_BODY, BODY])
def test_json_responses(delivered: bytes, issued: Issued) -> None:
    """The response counts with the attestation in it and with it taken out."""
    assert verify_receipt(issued.json, pinned(issued), response=delivered).ok


@pytest.mark.parametrize("delivered", [DELIVERED_STREAM, STREAM])
def test_streamed_responses(delivered: bytes, issued: Issued) -> None:
    """So does a stream, with member and closing event in it or out of it."""
    assert verify_receipt(issued.stream, pinned(issued), response=delivered).ok


def test_the_commitment_can_be_checked_by_hand(issued: Issued) -> None:
    """``nonce ‖ bytes`` in a file has, under sha256sum, the digest that the statement names."""
    key = b64decode(issued.json["opening"]["key"])
    statement = json.loads(b64decode(issued.json["bundle"]["dsseEnvelope"]["payload"]))
    subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    assert sha256(commit.nonce(key, "client-request") + REQUEST).hexdigest() == subjects["client-request"]


@pytest.mark.parametrize(
    ("request_", "response", "steps"),
    [
        (REQUEST + b" ", DELIVERED_BODY, ["request"]),
        (REQUEST, DELIVERED_BODY.replace(b'"hi"', b'"ho"'), ["response"]),
        (REQUEST, DELIVERED_BODY.rstrip(), ["response"]),
        (b"", b"", ["request", "response"]),
        (DELIVERED_BODY, REQUEST, ["request", "response"]),
        (REQUEST, DELIVERED_STREAM, ["response"]),
    ],
)
def test_other_files_fail(request_: bytes, response: bytes, steps: list[str], issued: Issued) -> None:
    """Other bytes than those sent and received fail their own step only."""
    report = verify_receipt(issued.json, pinned(issued), request=request_, response=response)
    assert failed(report) == steps


def entry_of(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = document["bundle"]["verificationMaterial"]["tlogEntries"][0]
    return entry


def flip(container: dict[str, Any], name: str) -> None:
    """Change the last byte of a base64 field."""
    raw = bytearray(b64decode(container[name]))
    raw[-1] ^= 1
    container[name] = b64encode(bytes(raw)).decode()


def reword(document: dict[str, Any]) -> None:
    """Another provider in the statement."""
    envelope = document["bundle"]["dsseEnvelope"]
    payload = b64decode(envelope["payload"])
    envelope["payload"] = b64encode(payload.replace(b"vllm-b", b"vllm-c")).decode()


def set_in(*path: Any) -> Tamper:
    """``set_in("a", "b", value)`` sets document["a"]["b"] to value."""

    def apply(document: dict[str, Any]) -> None:
        container: Any = document
        for name in path[:-2]:
            container = container[name]
        container[path[-2]] = path[-1]

    return apply


def at_entry(change: Tamper) -> Tamper:
    return lambda document: change(entry_of(document))


def new_hash(document: dict[str, Any]) -> None:
    entry_of(document)["inclusionProof"]["hashes"][0] = b64encode(bytes(32)).decode()


def less_hashes(document: dict[str, Any]) -> None:
    entry_of(document)["inclusionProof"]["hashes"].pop()


def move(document: dict[str, Any]) -> None:
    """Claim the neighbour's index everywhere."""
    entry_of(document)["logIndex"] = entry_of(document)["inclusionProof"]["logIndex"] = "3"
    document["promise"]["index"] = 3


def note(change: Callable[[str], str]) -> Tamper:
    def apply(document: dict[str, Any]) -> None:
        checkpoint = entry_of(document)["inclusionProof"]["checkpoint"]
        checkpoint["envelope"] = change(checkpoint["envelope"])

    return apply


TAMPERED: dict[str, tuple[Tamper, list[str]]] = {
    "statement": (reword, ["envelope", "entry"]),
    "payload type": (set_in("bundle", "dsseEnvelope", "payloadType", "x"), ["envelope", "entry"]),
    "signature": (lambda d: flip(d["bundle"]["dsseEnvelope"]["signatures"][0], "sig"), ["envelope", "entry"]),
    "body": (at_entry(lambda e: flip(e, "canonicalizedBody")), ["entry", "inclusion", "promise"]),
    "proof": (new_hash, ["inclusion"]),
    "shorter proof": (less_hashes, ["inclusion"]),
    "index": (move, ["inclusion", "promise"]),
    "root": (at_entry(lambda e: flip(e["inclusionProof"], "rootHash")), ["inclusion", "checkpoint"]),
    "tree size": (at_entry(set_in("inclusionProof", "treeSize", "3")), ["inclusion", "checkpoint"]),
    "log id": (at_entry(lambda e: flip(e["logId"], "keyId")), ["checkpoint"]),
    "checkpoint size": (note(lambda text: text.replace("\n4\n", "\n5\n")), ["checkpoint"]),
    "checkpoint origin": (note(lambda text: text.replace(ORIGIN, "other", 1)), ["checkpoint"]),
    "no checkpoint": (note(lambda _: ""), ["checkpoint"]),
    "promised time": (set_in("promise", "timeMs", 1), ["promise"]),
    "promised leaf": (lambda d: flip(d["promise"], "leafHash"), ["promise"]),
    "promise signature": (lambda d: flip(d["promise"], "signature"), ["promise"]),
    "promise origin": (set_in("log", "origin", "other"), ["promise"]),
    "opening key": (lambda d: flip(d["opening"], "key"), ["request", "response"]),
    "no opening": (set_in("opening", {}), ["request", "response"]),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_fails_its_step(name: str, issued: Issued) -> None:
    """Every change is found by the steps that look at it. Under a bad statement the files have nothing to
    match."""
    tamper, steps = TAMPERED[name]
    document = copy.deepcopy(issued.json)
    tamper(document)
    report = verify_receipt(document, pinned(issued), request=REQUEST, response=DELIVERED_BODY)
    if {"envelope", "entry"} & set(steps):
        steps = [*steps, "request", "response"]
        assert report.statement == {}
    assert failed(report) == steps


def forge(origin: str = ORIGIN, *, says: str = ORIGIN) -> dict[str, Any]:
    """A receipt that is right in everything but who made it."""
    keys = SigningKeys(
        Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    )
    public = keys.public(origin)
    call = facts()
    sealed = EntrySealer(keys.envelope, public.envelope, key_hint(public.envelope)).seal(
        outcome_statement(call)
    )
    leaf = leaf_hash(sealed.body)
    checkpoint = Checkpoint(says, 1, leaf)
    promise = keys.promise.sign(Promise(origin, 0, leaf, 1).encode())
    parts = ReceiptParts(0, 1, sealed.envelope, sealed.body, opening(KEY, call.digests), promise)
    return build_receipt(
        parts, checkpoint, sign_checkpoint(checkpoint, [keys.checkpoint_signer(origin)]), [], public
    )


def test_a_forger_needs_our_keys(issued: Issued) -> None:
    """A complete receipt by somebody else passes with its own keys, and with ours fails wherever a key is
    used."""
    document = forge()
    assert verify_receipt(document, TrustedKeys(), request=REQUEST, response=DELIVERED_BODY).ok
    assert failed(verify_receipt(document, pinned(issued))) == ["envelope", "entry", "checkpoint", "promise"]
    assert failed(verify_receipt(document, TrustedKeys(log=issued.keys.log))) == ["checkpoint"]
    only_envelope = TrustedKeys(envelope=issued.keys.envelope)
    assert failed(verify_receipt(document, only_envelope)) == ["envelope", "entry"]
    assert failed(verify_receipt(document, TrustedKeys(promise=issued.keys.promise))) == ["promise"]


def test_a_checkpoint_for_another_origin_under_the_right_key() -> None:
    """The checkpoint's first line counts, not only the name in the signature."""
    assert failed(verify_receipt(forge(says="other.example/log"), TrustedKeys())) == ["checkpoint"]


@pytest.mark.parametrize(
    "document",
    [None, 1, "x", [], {}, {"mediaType": "application/vnd.sovereign.receipt.v1+json"}, {"mediaType": "x"}],
)
def test_what_is_no_receipt(document: Any) -> None:
    """Other JSON is refused as a whole."""
    with pytest.raises(VerificationError, match=r"receipt|mediaType"):
        verify_receipt(document, TrustedKeys())


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a document is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, item in items for found in paths(item, (*path, name)))]


@settings(max_examples=300)
@given(st.data())
def test_hostile_receipts_end_in_a_verdict(issued: Issued, data: st.DataObject) -> None:
    """Whatever value stands anywhere, the verdict is a report or VerificationError, and never a pass for a
    changed signed part."""
    document = copy.deepcopy(issued.json)
    path = data.draw(st.sampled_from(paths(document)[1:]))
    junk = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.none()) | st.just({})
    container: Any = document
    for name in path[:-1]:
        container = container[name]
    old, container[path[-1]] = container[path[-1]], data.draw(junk)
    try:
        report = verify_receipt(document, pinned(issued), request=REQUEST, response=DELIVERED_BODY)
    except VerificationError:
        return
    hints = ("mediaType", "publicKey", "keyid", "version", "items", "keys", "integratedTime", "logId", "log")
    if container[path[-1]] != old and not any(name in hints for name in path):
        assert not report.ok, path


def test_command(issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``sovereign verify`` prints numbered steps and what the call was; exit code 0."""
    receipt = write_json(tmp_path / "receipt.json", issued.json)
    (tmp_path / "request").write_bytes(REQUEST)
    (tmp_path / "response").write_bytes(DELIVERED_BODY)
    files = ["--request", str(tmp_path / "request"), "--response", str(tmp_path / "response")]
    assert main(["verify", receipt, *files, "--keys", str(issued.public / "log-keys.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:7]] == [
        [str(number), name, "ok"] for number, name in enumerate(STEPS, 1)
    ]
    assert lines[7] == f"verified: entry 2 of {ORIGIN}"
    assert any(line.split() == ["provider", "vllm-b"] for line in lines)
    assert "note:" not in lines[-1]


@pytest.mark.parametrize("option", ["--trusted-root", "--log-key", None])
def test_command_with_other_keys(
    option: str | None, issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's key may come as trusted root or key string; without any the last line warns."""
    receipt = write_json(tmp_path / "receipt.json", issued.json)
    values = {
        "--trusted-root": str(issued.public / "trusted_root.json"),
        "--log-key": issued.keys.log.encode(),
    }
    assert main(["verify", receipt, *([option, values[option]] if option else [])]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("note: no key was given") == (option is None)


def test_command_on_a_bad_receipt(issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed step is named with its reason, and the exit code is 1."""
    document = copy.deepcopy(issued.json)
    new_hash(document)
    receipt = write_json(tmp_path / "receipt.json", document)
    assert main(["verify", receipt, "--keys", str(issued.public / "log-keys.json")]) == 1
    output = capsys.readouterr().out
    assert "3 inclusion  FAILED  inclusion proof gives root" in output
    assert "NOT VERIFIED: inclusion failed" in output
    assert main(["verify", receipt, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none"], "none"),
        (["{tmp}/text"], "is not JSON"),
        (["{tmp}/receipt", "--log-key", "x"], "not an Ed25519 verifier key"),
        (["{tmp}/receipt", "--keys", "{tmp}/receipt"], "not a log-keys.json"),
        (["{tmp}/receipt", "--trusted-root", "{tmp}/empty"], "malformed trusted root"),
        (["{tmp}/receipt", "--trusted-root", "{tmp}/other"], "has no log 'sovereign.local/log'"),
        (["{tmp}/receipt", "--response", "{tmp}/none"], "none"),
    ],
)
def test_command_on_bad_arguments(
    arguments: list[str], message: str, issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files and keys that are none are named in one line on stderr, exit code 1."""
    write_json(tmp_path / "receipt", issued.json)
    write_json(tmp_path / "empty", {})
    write_json(tmp_path / "other", {"tlogs": [{"baseUrl": "https://other.example/log"}]})
    (tmp_path / "text").write_text("{")
    assert main(["verify", *(a.replace("{tmp}", str(tmp_path)) for a in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_verifier_imports_nothing_of_the_gateway() -> None:
    """Offline verification loads attest, tlog's pure part, openai.splice and errors, nothing else of ours."""
    code = (
        "import sys, sovereign_ext.attest.verify; print(*(m for m in sys.modules if 'sovereign_ext.' in m))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    ours = {name.removeprefix("sovereign_ext.") for name in loaded.stdout.split()}
    shell = {"tlog.service", "tlog.sequencer", "tlog.integrator", "tlog.publisher", "tlog.files", "tlog.fsck"}
    assert {name.split(".")[0] for name in ours} == {"attest", "tlog", "openai", "errors"}
    assert {name for name in ours if name.startswith("openai.")} == {"openai.splice"}
    assert not ours & shell


def test_other_log_keys_do_not_open_a_note(issued: Issued) -> None:
    """A key of the right name and another value is not the log's."""
    stranger = Verifier(ORIGIN, bytes(32))
    assert failed(verify_receipt(issued.json, TrustedKeys(log=stranger))) == ["checkpoint"]
    assert dsse.PAYLOAD_TYPE in json.dumps(issued.json)
