"""Every single bit of a receipt, of a response and of a checkpoint counts: changed, it is refused. All are tried.

A receipt is compact JSON, as the gateway serves it: it has no byte that means nothing. Signature checks are
remembered by their arguments, because most of a hundred thousand receipts repeat those of the untouched one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attest_world import CANDIDATES, ORIGIN, REQUEST, STREAM, Complete, complete, facts

from sovereign_ext.attest import dsse, grounds, verify, vouching, watched
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.attest.rekor import RekorKey
from sovereign_ext.attest.verify import TrustedKeys, verify_receipt
from sovereign_ext.cli.verify import _read_json
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog import cosignature, note
from sovereign_ext.tlog.checkpoint import open_checkpoint

pytestmark = pytest.mark.services


def remember(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same answer, or the same error, to the same arguments."""
    known: dict[Any, Any] = {}

    @wraps(function)
    def remembering(*arguments: Any) -> Any:
        if arguments not in known:
            try:
                known[arguments] = function(*arguments)
            except VerificationError as error:
                known[arguments] = error
        if isinstance(known[arguments], VerificationError):
            raise known[arguments]
        return known[arguments]

    return remembering


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (dsse, "verify"),
            (verify, "verify_promise"),
            (vouching, "_signed"),
            (note, "parse_note"),
            (cosignature, "parse_note"),
            (watched, "parse_note"),
            (note, "verify_ed25519"),
            (cosignature, "verify_ed25519"),
            (RekorKey, "verify"),
        ):
            patch.setattr(owner, name, remember(getattr(owner, name)))
        yield


@pytest.fixture(scope="module")
def made() -> Complete:
    """Everything a receipt can carry, and as little of each as there can be."""
    return complete(facts(candidates=CANDIDATES[1:2], attempts=facts().attempts[1:], shadows=()))


@pytest.fixture(scope="module")
def streamed() -> Complete:
    """The same for a stream."""
    return complete(facts(STREAM, stream=True))


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every version of ``data`` with one bit changed, and where."""
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        yield at, bytes(changed)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """One failed step is enough: the others are not run."""
    step = verify._Verification._step

    def checked(self: Any, name: str, check: Callable[[], str]) -> None:
        step(self, name, check)
        if self._failed():
            raise VerificationError(name)

    monkeypatch.setattr(verify._Verification, "_step", checked)


def passes(receipt: Any, keys: TrustedKeys, response: bytes, request: bytes = REQUEST) -> bool:
    return verify_receipt(receipt, keys, request=request, response=response).ok


@pytest.mark.usefixtures("_hasty")
def test_receipt(made: Complete, tmp_path: Path) -> None:
    """Whatever is changed: it is no JSON any more, or no receipt, or a step fails."""
    served = msgspec.json.encode(made.document)
    file = tmp_path / "receipt.json"
    file.write_bytes(served)
    assert passes(_read_json(file), made.keys, made.response)
    accepted = []
    for at, changed in flipped(served):
        try:
            # What the command reads, without going through a file each time.
            document = json.loads(changed, object_pairs_hook=_unique)
            if passes(document, made.keys, made.response):
                accepted.append(changed[max(0, at // 8 - 30) : at // 8 + 30])
        except (ValueError, VerificationError):
            continue
    assert accepted == []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("twice")
    return found


@pytest.mark.parametrize("kind", ["made", "streamed"])
def test_response(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the answer itself, and of the attestation in it, both times that a stream carries it."""
    whole: Complete = request.getfixturevalue(kind)
    assert passes(whole.document, whole.keys, whole.response)
    receipt = parse_receipt(whole.document)
    monkeypatch.setattr(verify, "parse_receipt", lambda _: receipt)
    for module, step in (  # which do not look at the response
        (watched, "cosignatures"),
        (watched, "anchors"),
        (grounds, "documents"),
        (grounds, "policy"),
        (grounds, "statements"),
    ):
        monkeypatch.setattr(module, step, lambda *_: "as before")
    accepted = [at for at, changed in flipped(whole.response) if passes(whole.document, whole.keys, changed)]
    assert accepted == []


def test_request(made: Complete) -> None:
    """Of the request too."""
    accepted = [
        at for at, changed in flipped(REQUEST) if passes(made.document, made.keys, made.response, changed)
    ]
    assert accepted == []


def test_checkpoint(made: Complete) -> None:
    """A checkpoint with its log's signature alone, as whoever follows the log reads it."""
    entry = made.document["bundle"]["verificationMaterial"]["tlogEntries"][0]
    whole = entry["inclusionProof"]["checkpoint"]["envelope"]
    signed = "".join(line for line in whole.splitlines(True) if not line.startswith("— w")).encode()
    log = made.keys.log
    assert log is not None
    assert open_checkpoint(signed, ORIGIN, [log])[0].size == 2
    for _, changed in flipped(signed):
        with pytest.raises(VerificationError):
            open_checkpoint(changed, ORIGIN, [log])
