"""Receipts verify offline; each kind of tampering fails the step that is there for it."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import attest_world
import pytest
from attest_world import (
    BODY,
    ORIGIN,
    REQUEST,
    STREAM,
    WITNESS_PEM,
    Complete,
    Issued,
    complete,
    facts,
    write_json,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.attest import commit, dsse
from sovereign_ext.attest.keys import PublicKeys
from sovereign_ext.attest.trusted_root import public_files
from sovereign_ext.attest.verify import Report, Status, TrustedKeys, verify_receipt
from sovereign_ext.cli.main import main
from sovereign_ext.errors import VerificationError
from sovereign_ext.openai.splice import closing_event, split_sse
from sovereign_ext.tlog.note import Verifier

STEPS = [
    "envelope",
    "entry",
    "inclusion",
    "checkpoint",
    "promise",
    "cosignatures",
    "anchors",
    "documents",
    "policy",
    "statements",
    "request",
    "response",
    "attestation",
]
Tamper = Callable[[dict[str, Any]], None]


def pinned(issued: Issued) -> TrustedKeys:
    return TrustedKeys(issued.keys.log, issued.keys.envelope, issued.keys.promise)


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status is Status.FAILED]


def skipped(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status is Status.SKIPPED]


def test_a_complete_receipt_passes_every_step() -> None:
    """With every key and both files given, all steps are ok and the statement is shown."""
    made = complete()
    report = verify_receipt(made.document, made.keys, request=REQUEST, response=made.response)
    assert [(c.number, c.name, c.status, c.detail) for c in report.checks if c.status is not Status.OK] == []
    assert [(check.number, check.name) for check in report.checks] == list(enumerate(STEPS, 1))
    assert (report.ok, report.pinned, report.index, report.origin) == (True, True, 1, ORIGIN)
    assert report.statement["predicate"]["provider"] == "vllm-b"
    assert not any("taken from" in check.detail for check in report.checks)


def test_a_receipt_of_a_log_passes(issued: Issued) -> None:
    """A log without witnesses and anchors gives receipts without; so does an auditor who has no witness's key."""
    report = verify_receipt(issued.json, pinned(issued), request=REQUEST, response=issued.body)
    assert failed(report) == []
    assert skipped(report) == ["cosignatures", "anchors", "statements"]
    policy = next(check for check in report.checks if check.name == "policy")
    assert policy.detail == "phi: 2 of 3 candidates eligible, 2 tried"


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
    assert skipped(report) == ["cosignatures", "anchors", "statements", "request", "response", "attestation"]


def test_responses_with_and_without_their_attestation(issued: Issued) -> None:
    """A JSON body counts with the attestation in it and with it taken out; so does a stream."""
    for document, whole, bare in ((issued.json, issued.body, BODY), (issued.stream, issued.events, STREAM)):
        assert skipped(verify_receipt(document, pinned(issued), response=whole))[-1] == "request"
        report = verify_receipt(document, pinned(issued), response=bare)
        assert report.ok
        assert report.checks[-1].detail == "the response carries no attestation"


def test_a_stream_that_never_had_a_chunk_is_attested_in_its_closing_event_alone() -> None:
    """That event is then shaped by the call itself."""
    empty = b"data: [DONE]\n\n"
    made = complete(facts(empty, decision_id="dec-" + "7" * 32, stream=True))
    shape = {
        "id": "chatcmpl-" + "7" * 24,
        "object": "chat.completion.chunk",
        "created": 1_767_225_600,
        "model": "mayo-jhu/meridian-med-13b-v2",
        "choices": [],
    }
    attestation = split_sse(made.response).member
    assert attestation is not None
    response = empty + closing_event(json.dumps(shape, separators=(",", ":")).encode(), attestation)
    report = verify_receipt(made.document, made.keys, response=response)
    assert [(c.name, c.detail) for c in report.checks if c.status is Status.FAILED] == []
    assert verify_receipt(made.document, made.keys, response=response.replace(b"77", b"78", 1)).ok is False


def test_the_commitment_can_be_checked_by_hand(issued: Issued) -> None:
    """``nonce ‖ bytes`` in a file has, under sha256sum, the digest that the statement names."""
    key = b64decode(issued.json["opening"]["key"])
    statement = json.loads(b64decode(issued.json["bundle"]["dsseEnvelope"]["payload"]))
    subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    assert sha256(commit.nonce(key, "client-request") + REQUEST).hexdigest() == subjects["client-request"]


OTHER_FILES: dict[str, tuple[Callable[[Issued], tuple[bytes, bytes]], list[str]]] = {
    "longer request": (lambda i: (REQUEST + b" ", i.body), ["request"]),
    "another answer": (lambda i: (REQUEST, i.body.replace(b'"hi"', b'"ho"')), ["response"]),
    "shorter response": (lambda i: (REQUEST, i.body.rstrip()), ["response"]),
    "nothing": (lambda i: (b"", b""), ["request", "response"]),
    "the wrong way round": (lambda i: (i.body, REQUEST), ["request", "response"]),
    "another call's response": (lambda i: (REQUEST, i.events), ["response", "attestation"]),
    "another attestation": (
        lambda i: (REQUEST, i.body.replace(b'"findings":0', b'"findings":1')),
        ["attestation"],
    ),
    "white space in it": (
        lambda i: (REQUEST, i.body.replace(b'"version":1', b'"version": 1')),
        ["attestation"],
    ),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_fail(name: str, issued: Issued) -> None:
    """Other bytes than those sent and received fail their own step only."""
    files, steps = OTHER_FILES[name]
    request_, response = files(issued)
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
    "index": (move, ["inclusion", "promise", "attestation"]),
    "root": (at_entry(lambda e: flip(e["inclusionProof"], "rootHash")), ["inclusion", "checkpoint"]),
    "tree size": (at_entry(set_in("inclusionProof", "treeSize", "3")), ["inclusion", "checkpoint"]),
    "key hint": (set_in("bundle", "verificationMaterial", "publicKey", "hint", "x"), ["envelope"]),
    "named keys": (lambda d: d["log"]["keys"].update(promise=d["log"]["keys"]["envelope"]), ["promise"]),
    "stated log id": (lambda d: flip(d["log"], "logId"), ["checkpoint"]),
    "document": (lambda d: flip(next(iter(d["documents"].values())), "body"), ["documents", "policy"]),
    "no documents": (lambda d: d["documents"].clear(), ["documents", "policy"]),
    "another document": (
        set_in("documents", f"sha256:{sha256(b'').hexdigest()}", {"kind": "evidence", "body": ""}),
        ["documents"],
    ),
    "opened items": (lambda d: d["opening"]["items"].pop(), ["request", "response"]),
    "log id": (at_entry(lambda e: flip(e["logId"], "keyId")), ["checkpoint", "attestation"]),
    "checkpoint size": (note(lambda text: text.replace("\n4\n", "\n5\n")), ["checkpoint"]),
    "checkpoint origin": (note(lambda text: text.replace(ORIGIN, "other", 1)), ["checkpoint"]),
    "no checkpoint": (note(lambda _: ""), ["checkpoint"]),
    "promised time": (set_in("promise", "timeMs", 1), ["promise", "attestation"]),
    "promised leaf": (lambda d: flip(d["promise"], "leafHash"), ["promise"]),
    "promise signature": (lambda d: flip(d["promise"], "signature"), ["promise", "attestation"]),
    "promise origin": (set_in("log", "origin", "other"), ["promise", "attestation"]),
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
    report = verify_receipt(document, pinned(issued), request=REQUEST, response=issued.body)
    if {"envelope", "entry"} & set(steps):
        assert report.statement == {}
        assert skipped(report)[-4:] == ["documents", "policy", "statements", "attestation"]
        steps = [*steps, "request", "response"]
    assert failed(report) == steps


def test_a_forger_needs_our_keys(issued: Issued) -> None:
    """A complete receipt by somebody else passes with its own keys, and with ours fails wherever a key is
    used."""
    made = complete()
    document = made.document
    assert verify_receipt(document, TrustedKeys(), request=REQUEST, response=made.response).ok
    assert failed(verify_receipt(document, pinned(issued))) == ["envelope", "entry", "checkpoint", "promise"]
    assert failed(verify_receipt(document, TrustedKeys(log=issued.keys.log))) == ["checkpoint"]
    only_envelope = TrustedKeys(envelope=issued.keys.envelope)
    assert failed(verify_receipt(document, only_envelope)) == ["envelope", "entry"]
    assert failed(verify_receipt(document, TrustedKeys(promise=issued.keys.promise))) == ["promise"]


def test_a_checkpoint_for_another_origin_under_the_right_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's first line counts, not only the name in the signature."""
    monkeypatch.setattr(attest_world, "SIGNED_ORIGIN", "other.example/log")
    assert failed(verify_receipt(complete().document, TrustedKeys())) == ["checkpoint"]


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
        report = verify_receipt(document, pinned(issued), request=REQUEST, response=issued.body)
    except VerificationError:
        return
    if json.dumps(container[path[-1]]) != json.dumps(old):
        assert not report.ok, path


def test_command(issued: Issued, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``sovereign verify`` prints numbered steps and what the call was; exit code 0."""
    receipt = write_json(tmp_path / "receipt.json", issued.json)
    (tmp_path / "request").write_bytes(REQUEST)
    (tmp_path / "response").write_bytes(issued.body)
    files = ["--request", str(tmp_path / "request"), "--response", str(tmp_path / "response")]
    assert main(["verify", receipt, *files, "--keys", str(issued.public / "log-keys.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:13]] == [
        [str(number), name] for number, name in enumerate(STEPS, 1)
    ]
    assert lines[12].split()[2] == "ok"
    assert lines[13] == f"verified: entry 2 of {ORIGIN}"
    assert any(line.split() == ["provider", "vllm-b"] for line in lines)
    assert "note:" not in lines[-1]


def write_trust(directory: Path, made: Complete) -> None:
    """What an auditor keeps."""
    for name in ("witnesses", "anchors"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    assert made.keys.log is not None
    assert made.keys.quorum is not None
    keys = PublicKeys(made.keys.log, made.keys.envelope or b"", made.keys.promise or b"")
    (directory / "log-keys.json").write_bytes(dict(public_files(keys, 1))["log-keys.json"])
    (directory / "tlog-policy").write_bytes(made.keys.quorum.encode())
    (directory / "witnesses" / "cms.pub.pem").write_bytes(WITNESS_PEM)
    anchor = load_der_public_key(made.keys.anchors["ext"].spki)
    pem = anchor.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (directory / "anchors" / "ext.pem").write_bytes(pem)


def test_command_with_a_directory_of_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--trust`` takes what is there; with all of it no step is skipped, and each key counts."""
    made = complete()
    receipt, trust = write_json(tmp_path / "receipt.json", made.document), tmp_path / "trust"
    write_trust(trust, made)
    (tmp_path / "request").write_bytes(REQUEST)
    (tmp_path / "response").write_bytes(made.response)
    files = ["--request", str(tmp_path / "request"), "--response", str(tmp_path / "response")]
    command = [
        "verify",
        receipt,
        *files,
        "--trust",
        str(trust),
        "--cosigner",
        made.keys.cosigners[0].encode(),
    ]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(check["name"], check["status"]) for check in report["checks"]] == [
        (name, "ok") for name in STEPS
    ]
    for path, step in (
        ("witnesses/cms.pub.pem", "statements"),
        ("anchors/ext.pem", "anchors"),
        ("log-keys.json", "envelope"),
    ):
        other = tmp_path / "other"
        write_trust(other, complete())
        shutil.copy(other / path, kept := tmp_path / "kept")
        shutil.copy(trust / path, other / "original")
        stranger = Ed25519PrivateKey.generate().public_key()
        if step == "statements":
            kept.write_bytes(stranger.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        shutil.copy(kept, trust / path)
        assert main([*command, "--json"]) == 1
        checks = json.loads(capsys.readouterr().out)["checks"]
        assert step in [check["name"] for check in checks if check["status"] == "FAILED"]
        shutil.copy(other / "original", trust / path)
    (trust / "tlog-policy").write_bytes(b"witness a nonsense\n")
    assert main(command) == 1
    assert "tlog-policy:1" in capsys.readouterr().err


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
    assert " 3 inclusion    FAILED  inclusion proof gives root" in output
    assert "NOT VERIFIED: inclusion failed" in output
    assert main(["verify", receipt, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none"], "none"),
        (["{tmp}/text"], "is not JSON"),
        (["{tmp}/twice"], "has a member twice"),
        (["{tmp}/receipt", "--anchor-key", "x={tmp}/text"], "not a PEM public key"),
        (["{tmp}/receipt", "--cosigner", "x"], "not a witness's verifier key"),
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
    (tmp_path / "twice").write_text('{"a": 1, "a": 1}')
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
    assert {name for name in ours if name.startswith("openai.")} == {"openai.splice", "openai.members"}
    assert not ours & shell


def test_other_log_keys_do_not_open_a_note(issued: Issued) -> None:
    """A key of the right name and another value is not the log's."""
    stranger = Verifier(ORIGIN, bytes(32))
    assert failed(verify_receipt(issued.json, TrustedKeys(log=stranger))) == ["checkpoint"]
    assert dsse.PAYLOAD_TYPE in json.dumps(issued.json)
