"""Our log and its witnesses: real mirror processes over HTTP, hostile witnesses, quorums, reloads, restored backups."""

from __future__ import annotations

import asyncio
import http.server
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from log_world import ORIGIN, draft, fill, fsck, opened
from mirror_world import (
    MirrorProcess,
    cosigner,
    mirror_process,
    tiles_over_http,
)

from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.config.trust import Log
from sovereign_ext.errors import ConfigError, LogCorrupt
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.cosignature import (
    cosign,
    parse_cosigner_key,
    verify_ack,
    verify_cosignatures,
)
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import parse_note
from sovereign_ext.tlog.policyfile import parse_policy
from sovereign_ext.tlog.proof import verify_inclusion
from sovereign_ext.tlog.service import TransparencyLog
from sovereign_ext.tlog.witnesses import WitnessSet, witness_set

pytestmark = pytest.mark.services


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def no_files(name: str) -> bytes:
    raise AssertionError(f"{name} is not read")


def witnesses(*mirrors: dict[str, str], **more: Any) -> WitnessSet:
    return witness_set(Log.model_validate({"mirrors": mirrors, **more}), no_files)


@asynccontextmanager
async def live_log(state: Path, **options: Any) -> AsyncIterator[TransparencyLog]:
    async with opened(state, clock=now_ms, publish_interval_s=0.02, **options) as log:
        yield log


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other threads and processes do; in vain is a failure."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen in 30 s"
        await asyncio.sleep(0.005)


def options_of(log: TransparencyLog, url: str | None) -> list[str]:
    options = ["--log-key", log.public_keys.log.encode(), "--poll-s", "60"]
    return options if url is None else [*options, "--log-url", url]


def cosigned_size(log: TransparencyLog) -> int:
    found = log.cosigned()
    return -1 if found is None else found[0].size


def mirrored_size(log: TransparencyLog) -> int:
    return max((ack.size for ack in log.acks()), default=-1)


def test_an_entry_is_included_then_cosigned_then_mirrored(tmp_path: Path, go_judge: Any) -> None:
    """Checkpoints are cosigned and mirrored soon after they are published; receipts say so and prove it."""

    async def scenario() -> None:
        async with live_log(tmp_path / "log") as log:
            await fill(log, 300)
            before = (await log.receipt(299, None, 10))["log"]
            assert (before["state"], before["mirrors"]) == ("included", [])
            tiles = tmp_path / "log" / "tiles"
            with (
                tiles_over_http(tiles) as url,
                mirror_process(tmp_path / "m", *options_of(log, url)) as mirror,
            ):
                await log.follow(witnesses(mirror.settings))
                await until(lambda: cosigned_size(log) == 300 and mirrored_size(log) == 300)
                await fill(log, 10)
                await until(lambda: cosigned_size(log) == 310 and mirrored_size(log) == 310)
                judge_receipt(await log.receipt(305, None, 10), mirror, 310)
                judge_receipt(await log.receipt(3, None, 10), mirror, 310)
                (status,) = log.witnesses()
                assert (status.name, status.size, status.last_error) == (mirror.witness.name, 310, None)
                published = tiles / "checkpoint"
                log_key = log.public_keys.log.encode()
                judged = go_judge("cosigned", str(published), log_key, mirror.witness_vkey)
                assert judged.returncode == 0, judged.stderr
                assert go_judge("log", str(tiles), log_key, "0", "309").returncode == 0
        assert fsck(tmp_path / "log").faults == []

    asyncio.run(scenario())


def judge_receipt(document: dict[str, Any], mirror: MirrorProcess, size: int) -> None:
    """The receipt's checkpoint is the cosigned one, its proof holds there, and the mirror's word verifies."""
    receipt = parse_receipt(document)
    assert (receipt.state, receipt.tree_size) == ("mirrored", size)
    checkpoint, note = open_checkpoint(receipt.checkpoint, ORIGIN, [receipt.keys.log])
    verify_inclusion(leaf_hash(receipt.body), receipt.index, size, receipt.proof, checkpoint.root)
    assert len(verify_cosignatures(note, [mirror.witness]).cosignatures) == 1
    (ack,) = receipt.mirrors
    mirrored, verified = verify_ack(ack.note, receipt.keys.log, parse_cosigner_key(mirror.mirror_vkey))
    assert verified == ack
    assert receipt.index < mirrored.size == ack.size


def test_two_of_two_with_one_down(tmp_path: Path) -> None:
    """Without the quorum nothing is cosigned, and sequencing, publishing and receipts go on; the one that is up
    mirrors. When the other comes back, the newest checkpoint is cosigned by both."""

    async def scenario() -> None:
        async with live_log(tmp_path / "log") as log:
            with ExitStack() as stack:
                url = stack.enter_context(tiles_over_http(tmp_path / "log" / "tiles"))
                up = stack.enter_context(mirror_process(tmp_path / "up", *options_of(log, url)))
                with mirror_process(tmp_path / "down", *options_of(log, None)) as down:
                    settings = down.settings | {"mirror_key": down.mirror_vkey}
                await log.follow(witnesses(up.settings, settings, quorum=2))
                await fill(log, 20)
                await until(lambda: mirrored_size(log) == 20)
                document = await log.receipt(19, None, 10)
                assert log.cosigned() is None
                assert document["log"]["state"] == "mirrored"
                assert "it cannot be asked" in (log.witnesses()[1].last_error or "")
                again = stack.enter_context(
                    mirror_process(tmp_path / "down", *options_of(log, None), port=down.port)
                )
                assert again.witness_vkey == down.witness_vkey
                await until(lambda: cosigned_size(log) == 20)
                note = parse_note((log.cosigned() or (None, b""))[1])
                assert len(verify_cosignatures(note, [up.witness, down.witness]).cosignatures) == 2
                await until(lambda: (tmp_path / "log/tiles/checkpoint").read_bytes().count("—".encode()) == 3)

    asyncio.run(scenario())


def test_a_mirror_killed_while_the_log_grows(tmp_path: Path) -> None:
    """Checkpoints keep coming while the only witness dies and comes back; then everything is cosigned."""

    async def scenario() -> None:
        async with live_log(tmp_path / "log") as log:
            options = options_of(log, None)
            with mirror_process(tmp_path / "m", *options) as first:
                await log.follow(witnesses({"url": first.url, "key": first.witness_vkey}))
                await fill(log, 5)
                await until(lambda: cosigned_size(log) == 5)
                first.kill()
            await fill(log, 300)
            await log.receipt(304, None, 10)
            assert cosigned_size(log) == 5
            receipts = [await log.receipt(index, None, 10) for index in (3, 304)]
            assert [r["log"]["state"] for r in receipts] == ["cosigned", "included"]
            with mirror_process(tmp_path / "m", *options, port=first.port):
                await until(lambda: cosigned_size(log) == 305)

    asyncio.run(scenario())


def test_a_restored_log_is_refused_by_its_witness(tmp_path: Path) -> None:
    """A backup of everything, signed checkpoint included, cannot be noticed by the log alone. Its witness has seen
    more: it refuses the shorter log, and the fork that grows from it, and keeps the evidence."""

    async def scenario() -> None:
        state = tmp_path / "log"
        with ExitStack() as stack:
            async with live_log(state) as log:
                mirror = stack.enter_context(mirror_process(tmp_path / "m", *options_of(log, None)))
                asked = witnesses({"url": mirror.url, "key": mirror.witness_vkey})
                await fill(log, 10)
            shutil.copytree(state, tmp_path / "backup")
            async with live_log(state, witnesses=asked) as log:
                await fill(log, 10)
                await until(lambda: cosigned_size(log) == 20)
            shutil.rmtree(state)
            (tmp_path / "backup").rename(state)
            kept = mirror.kept(ORIGIN)
            async with live_log(state, witnesses=asked) as log:
                await until(lambda: "restored from a backup" in (log.witnesses()[0].last_error or ""))
                await fill(log, 30)
                await until(lambda: "does not extend" in (log.witnesses()[0].last_error or ""))
                assert log.cosigned() is None
            assert mirror.kept(ORIGIN) == kept
            assert [item["kind"] for item in mirror.evidence(ORIGIN)] == ["suspect"]

    asyncio.run(scenario())


def test_a_cosigned_checkpoint_beyond_the_signed_one_stops_the_log(tmp_path: Path) -> None:
    """The kept cosigned checkpoint is one more witness against an old backup; and against another tree."""

    async def scenario() -> None:
        state = tmp_path / "log"
        async with live_log(state) as log:
            await fill(log, 10)
        shutil.copytree(state, tmp_path / "backup")
        with mirror_process(tmp_path / "m", "--log-key", log.public_keys.log.encode()) as mirror:
            asked = witnesses({"url": mirror.url, "key": mirror.witness_vkey})
            async with live_log(state, witnesses=asked) as log:
                await fill(log, 10)
                await until(lambda: cosigned_size(log) == 20)
        shutil.copy(state / "signed" / "cosigned", tmp_path / "backup" / "signed" / "cosigned")
        with pytest.raises(LogCorrupt, match="size 20 was cosigned, only size 10 was signed"):
            await TransparencyLog.open(tmp_path / "backup", ORIGIN, clock=now_ms, witnesses=asked)
        async with live_log(tmp_path / "backup") as log:
            await fill(log, 20)
        with pytest.raises(LogCorrupt, match="has another root"):
            await TransparencyLog.open(tmp_path / "backup", ORIGIN, clock=now_ms, witnesses=asked)
        async with live_log(state, witnesses=asked) as log:
            assert cosigned_size(log) == 20, "taken up again before the witness is asked (it is down)"
            text = (state / "tiles" / "checkpoint").read_text()
            assert f"— {mirror.witness.name} " in text

    asyncio.run(scenario())


Script = Callable[[bytes], tuple[int, str, bytes]]


@contextmanager
def scripted_witness(answer: Script) -> Iterator[str]:
    """A witness that answers what the test says; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, kind, data = answer(body)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


OURS, OTHER = cosigner("w.example/1", 9), cosigner("w.example/2", 8)
SIZE = "text/x.tlog.size"


def line(body: bytes, by: Any = OURS, time_s: int | None = None) -> bytes:
    """A cosignature on the checkpoint of a request, whatever it is."""
    text = parse_note(body.partition(b"\n\n")[2]).text
    return cosign(text, by, int(time.time()) if time_s is None else time_s).line().encode()


def other_sizes() -> Script:
    sizes = iter(range(1, 1_000_000))
    return lambda _: (409, SIZE, b"%d\n" % (next(sizes) % 7))


HOSTILE: dict[str, tuple[Callable[[], Script], str]] = {
    "another key": (
        lambda: lambda body: (200, "text/plain", line(body, OTHER)),
        "not signed by the witness's key",
    ),
    "another text": (
        lambda: lambda body: (200, "text/plain", line(body.replace(b"\n7\n", b"\n8\n"))),
        "bad cosignature by w.example/1",
    ),
    "no lines": (lambda: lambda _: (200, "text/plain", b"thanks\n"), "expected signature lines"),
    "a whole note": (
        lambda: lambda body: (200, "text/plain", body.partition(b"\n\n")[2]),
        "expected signature lines",
    ),
    "tomorrow": (lambda: lambda body: (200, "text/plain", line(body, time_s=2**62)), "in the future"),
    "endless": (lambda: lambda _: (200, "text/plain", b"x" * 100_000), "longer than 65536 bytes"),
    "another size each time": (other_sizes, "names another size each time"),
    "no size": (lambda: lambda _: (409, SIZE, b"seven\n"), "malformed tree size"),
    "409 of something else": (lambda: lambda _: (409, "text/html", b"0\n"), "HTTP status 409"),
    "a size beyond ours": (lambda: lambda _: (409, SIZE, b"8\n"), "restored from a backup"),
    "another root": (lambda: lambda _: (409, SIZE, b"0\n"), "it holds another root for size 0"),
    "unknown": (lambda: lambda _: (404, "text/plain", b""), "does not know this log"),
    "forbidden": (lambda: lambda _: (403, "text/plain", b""), "does not accept the log's signature"),
    "bad proof": (lambda: lambda _: (422, "text/plain", b""), "does not extend"),
    "a redirect": (lambda: lambda _: (308, "text/plain", b""), "HTTP status 308"),
    "out of order": (lambda: lambda _: (500, "text/plain", b""), "HTTP status 500"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_witness_that_errs_or_lies(name: str, tmp_path: Path) -> None:
    """Nothing it says is published or kept; the reason shows in its status; the log goes on."""
    make, reason = HOSTILE[name]

    async def scenario() -> None:
        with scripted_witness(make()) as url:
            asked = witnesses({"url": url, "key": OURS.key.encode()})
            async with live_log(tmp_path) as log:
                await fill(log, 7)
                await log.receipt(6, None, 10)
                await log.follow(asked)
                await until(lambda: reason in (log.witnesses()[0].last_error or ""))
                assert log.cosigned() is None
                await fill(log, 1)
                assert (await log.receipt(7, None, 10))["log"]["state"] == "included"
                assert log.status().healthy
            assert not (tmp_path / "signed" / "cosigned").exists()
            assert (tmp_path / "tiles" / "checkpoint").read_bytes() == (
                tmp_path / "signed" / "checkpoint"
            ).read_bytes()

    asyncio.run(scenario())


def test_a_witness_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """One of two witnesses never answers: entries are sequenced and published as ever, and with a quorum of one the
    other's cosignatures come for one checkpoint after the other."""
    released = threading.Event()

    def hang(_: bytes) -> tuple[int, str, bytes]:
        released.wait(60)
        return 500, "text/plain", b""

    async def scenario() -> None:
        with (
            scripted_witness(hang) as stuck,
            scripted_witness(lambda b: (200, "text/plain", line(b, OTHER))) as good,
        ):
            asked = witnesses(
                {"url": stuck, "key": OURS.key.encode()}, {"url": good, "key": OTHER.key.encode()}, quorum=1
            )
            async with live_log(tmp_path, witnesses=asked) as log:
                for size in range(1, 30):
                    await fill(log, 1)
                    await log.receipt(size - 1, None, 2)
                    await until(lambda size=size: cosigned_size(log) == size)
                released.set()

    try:
        asyncio.run(scenario())
    finally:
        released.set()


def test_a_witness_that_lost_its_memory_is_asked_from_where_it_is(tmp_path: Path) -> None:
    """409 with a smaller size, or 0, is followed: the proof starts there."""
    seen: list[bytes] = []

    def forgetful(body: bytes) -> tuple[int, str, bytes]:
        seen.append(body.partition(b"\n")[0])
        if seen[-1] != b"old 3":
            return 409, SIZE, b"3\n"
        return 200, "text/plain", line(body)

    async def scenario() -> None:
        with scripted_witness(forgetful) as url:
            async with live_log(tmp_path, witnesses=witnesses({"url": url, "key": OURS.key.encode()})) as log:
                await fill(log, 9)
                await until(lambda: cosigned_size(log) == 9)
                assert seen.count(b"old 3") >= 1

    asyncio.run(scenario())


def test_reload_changes_who_is_asked_and_the_published_policy(tmp_path: Path) -> None:
    """``follow`` takes other witnesses, the same again, or none, while the log runs."""

    async def scenario() -> None:
        answers = {
            name: lambda body, by=by: (200, "text/plain", line(body, by))
            for name, by in (("1", OURS), ("2", OTHER))
        }
        with scripted_witness(answers["1"]) as one, scripted_witness(answers["2"]) as two:
            first = witnesses({"url": one, "key": OURS.key.encode()})
            second = witnesses({"url": two + "/", "key": OTHER.key.encode()})
            async with live_log(tmp_path, witnesses=first) as log:
                await fill(log, 3)
                await until(lambda: cosigned_size(log) == 3)
                running = log._witnessing
                await log.follow(first)
                assert log._witnessing is running, "nothing changed, nothing was started anew"
                policy = parse_policy((tmp_path / "public" / "tlog-policy").read_bytes())
                assert policy.logs[0].key == log.public_keys.log
                assert policy.met([OURS.key])
                assert not policy.met([OTHER.key])
                await log.follow(second)
                await until(lambda: cosigned_size(log) == 3)
                note = parse_note((log.cosigned() or (None, b""))[1])
                assert [s.name for s in note.signatures] == [ORIGIN, OTHER.key.name]
                assert parse_policy((tmp_path / "public" / "tlog-policy").read_bytes()).met([OTHER.key])
                await log.follow(None)
                assert (log.cosigned(), log.acks(), log.witnesses()) == (None, (), ())
                assert not (tmp_path / "public" / "tlog-policy").exists()
                await fill(log, 1)
                assert (await log.receipt(3, None, 10))["log"]["state"] == "included"

    asyncio.run(scenario())


def test_a_policy_file_decides(tmp_path: Path) -> None:
    """Its witnesses with a URL are asked; its groups say when it is enough."""

    async def scenario() -> None:
        with scripted_witness(lambda b: (200, "text/plain", line(b))) as one:
            policy = f"witness a {OURS.key.encode()} {one}/\nwitness b {OTHER.key.encode()}\n"
            policy += "group g any a b\nquorum g\n"
            settings = Log.model_validate({"policy_file": "policy"})
            asked = witness_set(settings, {"policy": policy.encode()}.__getitem__)
            assert [peer.url for peer in asked.peers] == [one]
            async with live_log(tmp_path, witnesses=asked) as log:
                await fill(log, 2)
                await until(lambda: cosigned_size(log) == 2)
            both = witness_set(settings, lambda _: policy.replace("any", "all").encode())
            async with live_log(tmp_path, witnesses=both) as log:
                await until(lambda: log.witnesses()[0].size == 2)
                assert log.cosigned() is None, "what one policy found enough is not what another does"

    asyncio.run(scenario())


def test_a_quorum_of_nobody_is_not_called_cosigned(tmp_path: Path) -> None:
    """``quorum none`` accepts every checkpoint, but a checkpoint without cosignatures is not a cosigned one."""

    async def scenario() -> None:
        nobody = witness_set(Log.model_validate({"policy_file": "p"}), lambda _: b"quorum none\n")
        async with live_log(tmp_path, witnesses=nobody) as log:
            await fill(log, 2)
            assert (await log.receipt(1, None, 10))["log"]["state"] == "included"
            assert log.cosigned() is None

    asyncio.run(scenario())


GOOD = {"url": "http://127.0.0.1:1", "key": OURS.key.encode()}
BAD_SETTINGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "log key": ({"mirrors": [GOOD | {"key": "a+00000000+AQ=="}]}, "log.mirrors[0].key", "not a witness's"),
    "mirror key": (
        {"mirrors": [GOOD, GOOD | {"mirror_key": "a+00000000+BA=="}]},
        "log.mirrors[1].mirror_key",
        "not a witness's",
    ),
    "one key for both": (
        {"mirrors": [GOOD | {"mirror_key": GOOD["key"]}]},
        "log.mirrors[0].mirror_key",
        "must differ",
    ),
    "same witness twice": ({"mirrors": [GOOD, GOOD]}, "log.mirrors", "same key"),
    "no certificate": ({"mirrors": [GOOD | {"ca_file": "ca"}]}, "log.mirrors[0].ca_file", "no PEM"),
    "bad policy": ({"policy_file": "policy"}, "", "no quorum line"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_cannot_be_used(name: str) -> None:
    """The field and the reason are named before anything is asked."""
    values, field, reason = BAD_SETTINGS[name]
    with pytest.raises(ConfigError) as caught:
        witness_set(Log.model_validate(values), {"ca": b"x", "policy": b"# nothing\n"}.__getitem__)
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_observers_see_every_published_checkpoint(tmp_path: Path) -> None:
    """In order, on the integrator's thread, with the note that the log signed."""

    async def scenario() -> None:
        async with live_log(tmp_path) as log:
            seen: list[int] = []
            log.observe(lambda published: seen.append(published.checkpoint.size))
            for size in (1, 2, 3):
                await log.append(draft())
                await log.receipt(size - 1, None, 10)
            assert seen == [1, 2, 3]
            assert log.published().checkpoint.size == 3

    asyncio.run(scenario())
