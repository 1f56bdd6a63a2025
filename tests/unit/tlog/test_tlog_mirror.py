"""``sovereign mirror`` as a process: what it answers, what it keeps, and what it refuses for ever."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mirror_world import (
    LOG,
    NAME,
    Branch,
    MirrorProcess,
    log_options,
    mirror_process,
    note_signer,
    tiles_over_http,
    wait_for,
)

from sovereign_ext.attest.keys import load_or_create_keys
from sovereign_ext.attest.trusted_root import public_files
from sovereign_ext.tlog.addcheckpoint import AddCheckpoint, with_lines
from sovereign_ext.tlog.cosignature import find_cosignature, parse_cosigner_key, verify_ack
from sovereign_ext.tlog.note import parse_note

pytestmark = pytest.mark.services

HONEST = Branch(600)
FORKED = HONEST.fork(5)
STRANGER = Branch(20, seed=2)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorProcess]:
    """A witness of ``HONEST`` that has cosigned size 10."""
    with mirror_process(tmp_path / "m", *log_options(HONEST)) as running:
        assert running.add(HONEST.request(0, 10)).status_code == 200
        yield running


def test_a_checkpoint_is_cosigned(mirror: MirrorProcess, tmp_path: Path, go_judge: Any) -> None:
    """The answer is one signature line over the checkpoint, dated now; Go says so too."""
    answer = mirror.add(HONEST.request(10, 300))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    found = find_cosignature(with_lines(HONEST.checkpoint(300).text(), answer.content), mirror.witness)
    assert found is not None
    assert found[1].time_s > 1_700_000_000
    file = tmp_path / "note"
    file.write_bytes(HONEST.note(300) + answer.content)
    judged = go_judge("cosigned", str(file), HONEST.signer.verifier.encode(), mirror.witness_vkey)
    assert judged.stdout == f"{NAME}/witness {found[1].time_s}\n", judged.stderr
    again = mirror.add(HONEST.request(300, 300))
    assert again.status_code == 200, "a cosignature that was lost on the way can be had again"


def changed(request: AddCheckpoint, **parts: Any) -> AddCheckpoint:
    values = {"old": request.old, "proof": request.proof, "note": request.note, **parts}
    return AddCheckpoint(**values)


def flipped(note: bytes) -> bytes:
    """The log's own signature with its last bits changed."""
    parsed = parse_note(note)
    line = parsed.signatures[0]
    raw = line.signature[:-1] + bytes([line.signature[-1] ^ 1])
    bad = type(line)(line.name, line.key_id, raw)
    return type(parsed)(parsed.text, (bad,)).encode()


GOOD = HONEST.request(10, 300)
REFUSALS: dict[str, tuple[int, AddCheckpoint | bytes]] = {
    "unknown origin": (404, Branch(20, name="other.example").request(0, 20)),
    "signed by another key of the same name": (403, STRANGER.request(0, 20)),
    "signed by nobody known": (
        403,
        changed(GOOD, note=GOOD.note.replace("— log".encode(), "— gol".encode())),
    ),
    "bad signature of the known key": (403, changed(GOOD, note=flipped(GOOD.note))),
    "text changed": (403, changed(GOOD, note=GOOD.note.replace(b"\n300\n", b"\n301\n"))),
    "old beyond the checkpoint": (400, changed(HONEST.request(10, 10), old=11)),
    "old beyond everything": (400, changed(GOOD, old=2**63 - 1)),
    "empty body": (400, b""),
    "no checkpoint": (400, b"old 10\n\n"),
    "no note": (400, b"old 10\n\nlog.example/1\n300\n"),
    "note that is no checkpoint": (400, b"old 10\n\nhello\n\n" + "— log.example/1 AAAAAAAA\n".encode()),
    "64 proof lines": (400, changed(GOOD, proof=(b"\0" * 32,) * 64)),
    "old too small": (409, HONEST.request(0, 300)),
    "old too large": (409, HONEST.request(200, 300)),
    "rolled back": (409, HONEST.request(5, 7)),
    "rolled back to nothing": (409, HONEST.request(0, 0)),
    "same size, another root": (409, FORKED.request(10, 10)),
    "earlier size, another root": (409, FORKED.request(7, 8)),
    "no proof": (422, changed(GOOD, proof=())),
    "proof too long": (422, changed(GOOD, proof=(*GOOD.proof, b"\0" * 32))),
    "proof too short": (422, changed(GOOD, proof=GOOD.proof[:-1])),
    "proof of other nodes": (422, changed(GOOD, proof=tuple(reversed(GOOD.proof)))),
    "proof where none is needed": (422, changed(HONEST.request(10, 10), proof=GOOD.proof)),
    "proof of another branch": (422, FORKED.request(10, 300)),
}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProcess]:
    """One mirror at size 10 for all refusals: nothing that it refuses may change it."""
    with mirror_process(tmp_path_factory.mktemp("refusing") / "m", *log_options(HONEST)) as running:
        assert running.add(HONEST.request(0, 10)).status_code == 200
        yield running


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, refusing: MirrorProcess) -> None:
    """Each fault has the status of the specification, is never cosigned, and leaves the state as it was."""
    status, request = REFUSALS[name]
    before = refusing.kept()
    answer = refusing.add(request)
    assert answer.status_code == status, answer.text
    assert "—" not in answer.text
    if status == 409:
        assert (answer.headers["content-type"], answer.content) == ("text/x.tlog.size", b"10\n")
    assert refusing.kept() == before
    assert refusing.add(HONEST.request(10, 10)).status_code == 200


def test_a_fork_is_refused_and_kept_as_evidence_also_after_kill_9(tmp_path: Path) -> None:
    """Both notes are on disk before the refusal is sent; a new life refuses the fork again and goes on honestly."""
    state = tmp_path / "m"
    with mirror_process(state, *log_options(HONEST)) as mirror:
        assert mirror.add(HONEST.request(0, 10)).status_code == 200
        assert mirror.add(FORKED.request(10, 10)).status_code == 409
        assert mirror.add(FORKED.request(10, 300)).status_code == 422
        mirror.kill()
    with mirror_process(state, *log_options(HONEST), name=None) as mirror:
        fork, suspect = mirror.evidence()
        assert (fork["kind"], fork["origin"], suspect["kind"]) == ("fork", LOG, "suspect")
        assert (fork["held"].encode(), fork["shown"].encode()) == (HONEST.note(10), FORKED.note(10))
        assert suspect["shown"].encode() == FORKED.note(300)
        for bad, status in (
            (FORKED.request(10, 10), 409),
            (FORKED.request(10, 300), 422),
            (HONEST.request(5, 7), 409),
        ):
            assert mirror.add(bad).status_code == status
        assert len(mirror.evidence()) == 2, "the same note is kept once"
        assert mirror.status()["forks"] == 1
        assert mirror.status()["witnessed_size"] == 10
        assert mirror.add(HONEST.request(10, 300)).status_code == 200


def test_lines_of_others_are_not_kept(mirror: MirrorProcess) -> None:
    """A checkpoint may carry many signatures; ours is over the text, and the state has the log's line only."""
    crowd = [note_signer(f"other.example/{seed}", seed) for seed in range(30, 50)]
    request = changed(HONEST.request(10, 12), note=HONEST.note(12, *crowd))
    assert mirror.add(request).status_code == 200
    assert mirror.kept()["head"] == HONEST.note(12)


def test_a_log_is_followed_by_its_tiles(tmp_path: Path, go_judge: Any) -> None:
    """Entries, hashes and checkpoint are copied and served under the C2SP paths; Go reads the copy as a log."""
    published = tmp_path / "log"
    HONEST.publish(published, 300)
    with (
        tiles_over_http(published) as url,
        mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror,
    ):
        wait_for(lambda: mirror.status()["mirrored_size"] == 300)
        note = mirror.get("checkpoint").content
        mirror_key = parse_cosigner_key(mirror.mirror_vkey)
        checkpoint, _ = verify_ack(note, HONEST.signer.verifier, mirror_key)
        assert checkpoint == HONEST.checkpoint(300)
        for path in (
            "tile/0/000",
            "tile/0/001.p/44",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/44",
        ):
            served = mirror.get(path)
            assert served.content == (published / path).read_bytes(), path
            assert (served.headers["content-type"], "immutable" in served.headers["cache-control"]) == (
                "application/octet-stream",
                True,
            )
        HONEST.publish(published, 600)
        wait_for(lambda: mirror.status()["mirrored_size"] == 600)
        copy = (
            tmp_path / "m" / "logs" / json.loads(httpx.get(mirror.url).text)["logs"][0]["path"][1:] / "copy"
        )
        judged = go_judge("log", str(copy), HONEST.signer.verifier.encode(), "0", "299", "599")
        assert judged.returncode == 0, judged.stderr
        judged = go_judge(
            "cosigned", str(copy / "checkpoint"), HONEST.signer.verifier.encode(), mirror.mirror_vkey
        )
        assert judged.stdout.startswith(f"{NAME} "), judged.stderr
        assert not list(copy.rglob("000.p")) or {p.parent.name for p in copy.rglob("000.p")} == {"1"}
        for missing in (
            "tile/0/002.p/89",
            "tile/0/003",
            "tile/entries/002.p/99",
            "../head",
            "tile/0/0",
            "forks",
        ):
            assert mirror.get(missing).status_code == 404, missing


def test_a_log_whose_tiles_lie_is_not_mirrored(tmp_path: Path) -> None:
    """Entries that do not have the signed root are neither signed nor shown; right ones are, later."""
    published = tmp_path / "log"
    HONEST.publish(published, 300)
    bundle = published / "tile" / "entries" / "000"
    good = bundle.read_bytes()
    bundle.write_bytes(good.replace(b"entry 7", b"entry 8"))
    with (
        tiles_over_http(published) as url,
        mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror,
    ):
        wait_for(lambda: "the log's entries have root" in (mirror.status()["last_error"] or ""))
        assert mirror.status()["witnessed_size"] == 300, (
            "the checkpoint is consistent; its entries are not there"
        )
        for path in ("checkpoint", "tile/entries/000", "tile/0/000"):
            assert mirror.get(path).status_code == 404
        mirror.kill()
    bundle.write_bytes(good)
    with (
        tiles_over_http(published) as url,
        mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror,
    ):
        wait_for(lambda: mirror.status()["mirrored_size"] == 300)
        assert mirror.get("tile/entries/000").content == good


def test_a_log_that_shows_a_fork_in_its_tiles(tmp_path: Path) -> None:
    """A followed log that rewrites history, or goes back, is refused; copy and head stay at the old tree."""
    published = tmp_path / "log"
    HONEST.publish(published, 300)
    with (
        tiles_over_http(published) as url,
        mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror,
    ):
        wait_for(lambda: mirror.status()["mirrored_size"] == 300)
        kept = mirror.kept()
        FORKED.publish(published, 400)
        wait_for(lambda: "was refused" in (mirror.status()["last_error"] or ""))
        HONEST.publish(published, 200)
        wait_for(lambda: "shows size 200, it had signed 300 before" in (mirror.status()["last_error"] or ""))
        FORKED.publish(published, 200)
        wait_for(lambda: mirror.status()["forks"] == 1)
        fork, suspect = mirror.evidence()
        assert fork["shown"].encode() == FORKED.note(200), "the copy knows what root size 200 had"
        assert suspect["shown"].encode() == FORKED.note(400)
        assert mirror.kept() == kept


def test_many_logs_from_a_policy_file(tmp_path: Path) -> None:
    """The log lines of a policy file; each log has its own state, and others are unknown."""
    logs = [Branch(30, name=f"many.example/{n}", seed=40 + n) for n in range(3)]
    policy = tmp_path / "policy"
    policy.write_text("".join(f"log {log.signer.verifier.encode()}\n" for log in logs[:2]) + "quorum none\n")
    options = ["--logs", str(policy), "--log-key", logs[2].signer.verifier.encode()]
    with mirror_process(tmp_path / "m", *options) as mirror:
        for number, log in enumerate(logs):
            assert mirror.add(log.request(0, 10 + number)).status_code == 200
        sizes = {log["origin"]: log["witnessed_size"] for log in httpx.get(mirror.url).json()["logs"]}
        assert sizes == {"many.example/0": 10, "many.example/1": 11, "many.example/2": 12}
        assert mirror.add(HONEST.request(0, 10)).status_code == 404
        assert mirror.stop() == 0


def test_the_log_s_key_from_its_file(tmp_path: Path) -> None:
    """``log-keys.json`` as the log publishes it; what is none is refused in one line."""
    keys = tmp_path / "log-keys.json"
    keys.write_text("{}")
    given = [
        "--state-dir",
        str(tmp_path / "m"),
        "--name",
        NAME,
        "--listen",
        "127.0.0.1:0",
        "--log-keys",
        str(keys),
    ]
    refused = command(*given)
    assert (refused.returncode, refused.stderr) == (1, "sovereign: not a log-keys.json: it has no keys\n")
    public = load_or_create_keys(tmp_path / "keys").public(LOG)
    public = dataclasses.replace(public, log=HONEST.signer.verifier)
    keys.write_bytes(dict(public_files(public, 0))["log-keys.json"])
    with mirror_process(tmp_path / "m", "--log-keys", str(keys)) as mirror:
        assert mirror.add(HONEST.request(0, 10)).status_code == 200


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sovereign_ext.cli.main", "mirror", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_keys_are_made_once_and_shown_again(tmp_path: Path) -> None:
    """``mirror key`` makes the keys under a name, later shows them; the running mirror uses the same."""
    state = tmp_path / "m"
    assert "give it a name" in command("key", "--state-dir", str(state)).stderr
    made = command("key", "--state-dir", str(state), "--name", NAME)
    assert made.returncode == 0
    shown = command("key", "--state-dir", str(state))
    assert shown.stdout == made.stdout
    witness, mirror = (parse_cosigner_key(line.split()[1]) for line in made.stdout.splitlines())
    assert (witness.name, mirror.name) == (f"{NAME}/witness", NAME)
    assert witness.public_key != mirror.public_key, (
        "a signature must say which of the two statements it makes"
    )
    assert all(path.stat().st_mode & 0o077 == 0 for path in [state / "keys", *(state / "keys").iterdir()])
    with mirror_process(state, *log_options(HONEST), name=None) as running:
        assert f"witness {running.witness_vkey}\nmirror {running.mirror_vkey}\n" == made.stdout
        assert "private" not in running.errors.read_text().lower()


BAD_STARTS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "another name": (lambda _: ["--name", "other"], "is 'mirror.example/m', not 'other'"),
    "no log": (lambda _: ["--log-key", "", "--logs", "/dev/null"], "not an Ed25519 verifier key"),
    "a witness's key": (lambda _: ["--log-key", "w+00000000+BAAA"], "not an Ed25519 verifier key"),
    "no such file": (lambda _: ["--logs", "/nonexistent"], "No such file"),
    "log given twice": (
        lambda _: ["--log-key", Branch(1).signer.verifier.encode(), "--logs", "{logs}"],
        "given twice",
    ),
    "key and file of keys": (lambda _: ["--log-keys", "x"], "not allowed with"),
    "half of TLS": (lambda _: ["--tls-cert", "x"], "belong together"),
    "bad address": (lambda _: ["--listen", "nowhere"], "is not HOST:PORT"),
    "keys gone": (lambda state: damage(state / "keys"), "keys are missing; restore them"),
    "one key gone": (lambda state: damage(state / "keys" / "witness.pem"), "witness.pem is missing"),
    "head gone": (lambda state: damage(*state.glob("logs/*/head")), "but witnessed only to 0"),
    "head of another key": (
        lambda _: ["--log-key", Branch(1, seed=3).signer.verifier.encode()],
        "is damaged",
    ),
    "tiles damaged": (lambda state: damage(*state.glob("logs/*/copy/tile/0/000.p/20")), "is damaged"),
}


def damage(*paths: Path) -> list[str]:
    for path in paths:
        path.rename(path.with_name(f"gone-{path.name}"))
    return []


@pytest.fixture(scope="module")
def used_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a mirror that mirrored 20 entries."""
    base = tmp_path_factory.mktemp("used")
    HONEST.publish(base / "log", 20)
    with (
        tiles_over_http(base / "log") as url,
        mirror_process(base / "m", *log_options(HONEST, url)) as mirror,
    ):
        wait_for(lambda: mirror.status()["mirrored_size"] == 20)
        mirror.stop()
    return base / "m"


@pytest.mark.parametrize("name", BAD_STARTS)
def test_starts_that_are_refused(name: str, used_state: Path, tmp_path: Path) -> None:
    """One line that says why, exit code 1 (2 for usage), and nothing is signed past damaged state."""
    state = tmp_path / "m"
    shutil.copytree(used_state, state)
    logs = tmp_path / "logs"
    logs.write_text(f"log {HONEST.signer.verifier.encode()}\nquorum none\n")
    prepare, reason = BAD_STARTS[name]
    extra = [str(logs) if word == "{logs}" else word for word in prepare(state)]
    given = ["--listen", "127.0.0.1:0", "--log-key", HONEST.signer.verifier.encode(), *extra]
    result = command("--state-dir", str(state), *given)
    assert result.returncode in (1, 2)
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_one_process_has_a_mirror_open(tmp_path: Path) -> None:
    """A second process on the same state is refused; after kill -9 of the first it may."""
    state = tmp_path / "m"
    options = log_options(HONEST)
    with mirror_process(state, *options) as first:
        second = command("--state-dir", str(state), "--listen", "127.0.0.1:0", *options)
        assert second.returncode == 1
        assert "another process has this log open" in second.stderr
        first.kill()
    with mirror_process(state, *options) as third:
        assert third.add(HONEST.request(0, 10)).status_code == 200


def test_a_taken_port_is_told_in_one_line(mirror: MirrorProcess, tmp_path: Path) -> None:
    """The listening address is in the message of the system."""
    listen = f"127.0.0.1:{mirror.port}"
    result = command(
        "--state-dir", str(tmp_path / "n"), "--name", "n", "--listen", listen, *log_options(HONEST)
    )
    assert result.returncode == 1
    assert "address already in use" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
