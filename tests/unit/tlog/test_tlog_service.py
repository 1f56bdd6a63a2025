"""The log as a whole: appending, publishing, receipts, starting again, and refusing to start."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from log_world import NOW_MS, ORIGIN, draft, fill, fsck, opened

from sovereign_ext.attest.promise import Promise, verify_promise
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.attest.verify import TrustedKeys, verify_receipt
from sovereign_ext.errors import EntryNotFound, EntryPending, LogConflict, LogCorrupt, LogUnavailable
from sovereign_ext.storage.documents import Document
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash
from sovereign_ext.tlog.proof import consistency_proof, verify_consistency, verify_inclusion
from sovereign_ext.tlog.publisher import Publisher
from sovereign_ext.tlog.service import EntryDraft, Sequenced, TransparencyLog

pytestmark = pytest.mark.services


def run(scenario: Callable[[], object]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


async def write(state: Path, number: int) -> None:
    # However slow the machine, no checkpoint in between: each would leave partial tiles of its own size.
    async with opened(state, publish_interval_s=3600) as log:
        await fill(log, number)


def test_an_entry_is_sequenced_promised_and_published(tmp_path: Path) -> None:
    """The answer names index, leaf and time, the promise covers them, and the published tree holds the
    leaf."""

    async def scenario() -> None:
        async with opened(tmp_path / "log") as log:
            first, second = await log.append(draft()), await log.append(draft())
            assert (first.index, second.index, second.time_ms) == (0, 1, NOW_MS)
            promise = Promise(ORIGIN, 1, second.leaf_hash, NOW_MS)
            verify_promise(promise, second.promise, log.public_keys.promise)
            receipt = parse_receipt(await log.receipt(1, "t1", 10))
            assert leaf_hash(receipt.body) == second.leaf_hash
            verify_inclusion(second.leaf_hash, 1, receipt.tree_size, receipt.proof, receipt.root)
            open_checkpoint(receipt.checkpoint, ORIGIN, [log.public_keys.log])
            assert receipt.promise_signature == second.promise
            assert receipt.log_id == log.log_id == log.public_keys.log.log_id
            status = log.status()
            assert (status.size, status.published_size, status.healthy) == (2, 2, True)

    run(scenario)


def test_a_new_log_publishes_its_empty_tree(tmp_path: Path) -> None:
    """Before the first entry there is a signed checkpoint of size 0."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            note = log.reader.checkpoint()
            assert note is not None
            checkpoint, _ = open_checkpoint(note, ORIGIN, [log.public_keys.log])
            assert (checkpoint.size, checkpoint.root) == (0, EMPTY_ROOT)

    run(scenario)


def test_receipts_are_for_the_owner(tmp_path: Path) -> None:
    """Another tenant's entry and one that does not exist are refused with the same words."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await log.append(draft(tenant="a"))
            assert await log.receipt(0, "a", 10)
            assert await log.receipt(0, None, 10)
            for index, tenant in ((0, "b"), (1, "a"), (-1, None), (2**70, None)):
                with pytest.raises(EntryNotFound, match=rf"^there is no entry {index}$"):
                    await log.receipt(index, tenant, 10)

    run(scenario)


def test_the_keys_of_a_log_are_its_first_entries(tmp_path: Path) -> None:
    """Each once, however often the log is opened; only an admin sees their receipts, which verify."""

    async def scenario() -> None:
        for _ in range(2):
            async with opened(tmp_path) as log:
                await log.record_keys()
                await log.record_keys()
                assert log.status().size == 3
                keys = log.public_keys
                receipts = [await log.receipt(index, None, 10) for index in range(3)]
                with pytest.raises(EntryNotFound):
                    await log.receipt(0, "t1", 0)
        found = []
        for receipt in receipts:
            report = verify_receipt(receipt, TrustedKeys(keys.log, keys.envelope, keys.promise))
            assert report.ok
            found.append(report.statement["predicate"])
            digest = report.statement["subject"][0]["digest"]["sha256"]
            if report.statement["predicate"]["role"] == "envelope":
                assert digest == sha256(keys.envelope).hexdigest()
        assert [(said["event"], said["role"], said["at_ms"]) for said in found] == [
            ("created", role, NOW_MS) for role in ("log", "envelope", "promise")
        ]
        assert b64decode(found[0]["key_id"]) == keys.log.log_id

    run(scenario)


def test_a_log_that_was_stopped_while_writing_down_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is added at the next start; what is there stays."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            append, left = log.append, iter([True])

            async def once(entry: EntryDraft) -> Sequenced:
                if next(left, None) is None:
                    raise LogUnavailable("stopped")
                return await append(entry)

            monkeypatch.setattr(log, "append", once)
            with pytest.raises(LogUnavailable):
                await log.record_keys()
            assert log.status().size == 1
        async with opened(tmp_path, clock=lambda: NOW_MS + 5) as log:
            await log.record_keys()
            assert log.status().size == 3
        assert fsck(tmp_path).faults == []

    run(scenario)


def test_receipts_enclose_the_documents_that_their_statement_refers_to(tmp_path: Path) -> None:
    """Each once and byte for byte, also after a new start; others and unknown ones stay out."""
    policy, witness, other = (
        Document(kind, kind.encode()) for kind in ("policy", "witness-statement", "evidence")
    )
    predicate = {
        "policy_digest": policy.digest,
        "witnesses": [{"witness": "w", "scope": "s", "statement": witness.digest}],
        "evidence_documents": [witness.digest, "sha256:" + "0" * 64, "no digest", 3],
        "candidates": [{"documents": [witness.digest]}, {"documents": 3}, 4],
    }

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await log.keep([policy, witness, other])
            await log.keep([policy])
            await log.append(draft(predicate=predicate))
            await log.append(draft(predicate=["strange"]))
        async with opened(tmp_path) as log:
            receipt = await log.receipt(0, "t1", 10)
            assert list(receipt["documents"]) == [policy.digest, witness.digest]
            enclosed = parse_receipt(receipt).documents
            assert enclosed[witness.digest].body == witness.body
            assert enclosed[policy.digest].kind == "policy"
            assert (await log.receipt(1, "t1", 10))["documents"] == {}

    run(scenario)


def test_documents_that_cannot_be_kept_are_an_error(tmp_path: Path) -> None:
    """Whoever would let an entry refer to them must know."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            with sqlite3.connect(tmp_path / "log.db") as connection:
                connection.execute("DROP TABLE documents")
            with pytest.raises(LogUnavailable, match="cannot keep documents: OperationalError"):
                await log.keep([Document("policy", b"x")])

    run(scenario)


def test_a_receipt_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    """A receipt that is asked for hurries the checkpoint along; without one in time it is pending."""

    async def scenario() -> None:
        async with opened(tmp_path, publish_interval_s=3600) as log:
            await fill(log, 1)
            await log.receipt(0, "t1", 10)  # the first entry after a quiet time
            await fill(log, 1)
            await log.receipt(1, "t1", 10)  # within the hour
            await fill(log, 1)
            with pytest.raises(EntryPending):
                await log.receipt(2, "t1", 0)

    run(scenario)


def test_repeating_an_append(tmp_path: Path) -> None:
    """The same statement under the same decision id is one entry; another statement is a conflict."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            first = await log.append(draft(decision_id="d"))
            assert await log.append(draft(decision_id="d")) == first
            with pytest.raises(LogConflict):
                await log.append(draft(decision_id="d", say="y"))
            with pytest.raises(LogConflict):
                await log.append(draft(decision_id="d", tenant="other"))
            assert log.status().size == 1

    run(scenario)


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Keys, indices and tree survive; every later tree extends the earlier ones, across tile borders."""

    async def scenario() -> None:
        heads = []
        for number in (0, 1, 254, 1, 1, 300):
            async with opened(tmp_path) as log:
                await fill(log, number)
            note = log.reader.checkpoint()
            assert note is not None
            heads.append(open_checkpoint(note, ORIGIN, [log.public_keys.log])[0])
        assert [head.size for head in heads] == [0, 1, 255, 256, 257, 557]
        nodes = log.reader.nodes(557)
        for head in heads:
            path = consistency_proof(head.size, 557, nodes)
            verify_consistency(head.size, head.root, 557, heads[-1].root, path)
        report = fsck(tmp_path)
        assert (report.faults, report.root, report.rows) == ([], heads[-1].root, 557)

    run(scenario)


def test_partial_tiles_go_when_the_full_tile_is_there(tmp_path: Path) -> None:
    """Only the right edge has partial tiles; a reader that asks for an old one is served from the full
    one."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await fill(log, 3)
            await log.receipt(2, None, 10)
            early = {path: log.reader.get(path) for path in ("tile/0/000.p/3", "tile/entries/000.p/3")}
            assert all(early.values())
            await fill(log, 300)
        partial = {str(p.relative_to(tmp_path / "tiles")) for p in (tmp_path / "tiles").rglob("*.p")}
        assert partial == {"tile/0/001.p", "tile/1/000.p", "tile/entries/001.p"}
        assert {path: log.reader.get(path) for path in early} == early
        assert log.reader.get("tile/0/000.p/256") is None
        assert log.reader.get("../keys/log.pem") is None
        assert log.reader.get("tile/0/002") is None

    run(scenario)


def test_one_process_has_a_log_open(tmp_path: Path) -> None:
    """The second opener is told; after a close it may."""

    async def scenario() -> None:
        async with opened(tmp_path):
            with pytest.raises(LogUnavailable, match="another process has this log open"):
                await TransparencyLog.open(tmp_path, ORIGIN, clock=lambda: 0)
        await write(tmp_path, 1)

    run(scenario)


def test_appends_after_close_are_refused(tmp_path: Path) -> None:
    """A closed log takes nothing and loses nothing."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await fill(log, 1)
        with pytest.raises(LogUnavailable, match="shutting down"):
            await log.append(draft())
        assert log.status().published_size == 1

    run(scenario)


def test_public_files(tmp_path: Path) -> None:
    """The exported keys are the log's, and no private file is readable by others."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            root = json.loads((tmp_path / "public" / "trusted_root.json").read_bytes())
            assert b64decode(root["tlogs"][0]["logId"]["keyId"]) == log.log_id
            assert root["tlogs"][0]["baseUrl"] == f"https://{ORIGIN}"
            own = json.loads((tmp_path / "public" / "log-keys.json").read_bytes())
            assert own["keys"]["checkpoint"] == log.public_keys.log.encode()
        private = [*(tmp_path / "keys").iterdir(), tmp_path / "log.db"]
        assert len(private) == 4
        assert all(path.stat().st_mode & 0o077 == 0 for path in [*private, tmp_path / "keys"])

    run(scenario)


def restore_old_database(state: Path) -> None:
    """An old backup of the database alone."""
    shutil.copy(state / "log.db.bak", state / "log.db")


def regrow_over_old_database(state: Path) -> None:
    """An old backup over which other entries were written, up to the old size and beyond."""
    restore_old_database(state)
    with sqlite3.connect(state / "log.db") as connection:
        for index in range(1, 9):
            body = b"forged %d" % index
            values = (index, "k", "t", f"f{index}", 1, body, leaf_hash(body), b"{}", b"{}")
            connection.execute("INSERT INTO log_entries VALUES (?,?,?,?,?,?,?,?,?)", values)
        connection.execute("UPDATE log_head SET next = 9")
    connection.close()


def edit(statement: str) -> Callable[[Path], None]:
    def apply(state: Path) -> None:
        with sqlite3.connect(state / "log.db") as connection:
            connection.execute(statement)
        connection.close()

    return apply


def remove(name: str) -> Callable[[Path], None]:
    def apply(state: Path) -> None:
        path = state / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def restore(name: str) -> Callable[[Path], None]:
    return lambda state: shutil.copy(state / f"{name.replace('/', '_')}.bak", state / name)  # type: ignore[return-value]


CORRUPTIONS = {
    "old database": (restore_old_database, "the database holds 1 entries"),
    "old database, regrown": (regrow_over_old_database, "was the database restored"),
    "head moved": (edit("UPDATE log_head SET next = 9"), "the head says 9 entries, the last row is 4"),
    "last row gone": (edit("DELETE FROM log_entries WHERE idx = 4"), "the head says 5 entries"),
    "row gone": (edit("DELETE FROM log_entries WHERE idx = 2"), "entry 2 is missing"),
    "leaf changed": (
        edit("UPDATE log_entries SET body = 'x' WHERE idx = 3"),
        "entry 3 does not have the leaf",
    ),
    "signed checkpoint gone": (remove("signed"), "no signed checkpoint was found"),
    "old signed checkpoint": (restore("signed/checkpoint"), "only size 1 was signed"),
    "keys gone": (remove("keys"), "keys are missing"),
    "one key gone": (remove("keys/promise.pem"), "promise.pem is missing"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_log_that_contradicts_itself_is_refused(name: str, tmp_path: Path) -> None:
    """Whatever was restored, lost or changed behind its back, the log does not sign on."""
    damage, message = CORRUPTIONS[name]

    async def scenario() -> None:
        await write(tmp_path, 1)
        shutil.copy(tmp_path / "log.db", tmp_path / "log.db.bak")
        shutil.copy(tmp_path / "signed" / "checkpoint", tmp_path / "signed_checkpoint.bak")
        await write(tmp_path, 4)
        damage(tmp_path)
        signed = tmp_path / "signed" / "checkpoint"
        before = signed.read_bytes() if signed.exists() else None
        with pytest.raises(LogCorrupt, match=re.escape(message)):
            await TransparencyLog.open(tmp_path, ORIGIN, clock=lambda: 0)
        assert (signed.read_bytes() if signed.exists() else None) == before

    run(scenario)


def test_another_origin_or_key_is_refused(tmp_path: Path) -> None:
    """A log keeps its name and its key."""

    async def scenario() -> None:
        await write(tmp_path / "a", 1)
        await write(tmp_path / "b", 1)
        with pytest.raises(LogCorrupt, match=r"not 'other\.example/log'"):
            await TransparencyLog.open(tmp_path / "a", "other.example/log", clock=lambda: 0)
        shutil.copy(tmp_path / "b" / "keys" / "log.pem", tmp_path / "a" / "keys" / "log.pem")
        with pytest.raises(LogCorrupt, match="does not belong to this log and key"):
            await TransparencyLog.open(tmp_path / "a", ORIGIN, clock=lambda: 0)

    run(scenario)


def test_a_backup_of_everything_is_noticed_by_a_checkpoint_kept_apart(tmp_path: Path) -> None:
    """With ``checkpoint_dir`` on other storage even a restored snapshot of the whole state directory is
    refused."""

    async def scenario() -> None:
        state, apart, backup = tmp_path / "state", tmp_path / "apart", tmp_path / "backup"
        async with opened(state, checkpoint_dir=apart) as log:
            await fill(log, 2)
        shutil.copytree(state, backup)
        async with opened(state, checkpoint_dir=apart) as log:
            await fill(log, 2)
        shutil.rmtree(state)
        backup.rename(state)
        with pytest.raises(LogCorrupt, match="size 4 was signed, the database holds 2"):
            await TransparencyLog.open(state, ORIGIN, clock=lambda: 0, checkpoint_dir=apart)

    run(scenario)


@pytest.mark.parametrize("lost", ["tiles", "tiles/tile/0/001.p", "tiles/tile/1", "tiles/checkpoint"])
def test_lost_tiles_are_rebuilt_from_the_rows(lost: str, tmp_path: Path) -> None:
    """Tiles are a cache: when they are gone they come back the same, under the checkpoint that was signed."""

    async def scenario() -> None:
        await write(tmp_path, 300)
        tiles = tmp_path / "tiles"
        before = {p: p.read_bytes() for p in tiles.rglob("*") if p.is_file()}
        remove(lost)(tmp_path)
        await write(tmp_path, 0)
        assert {p: p.read_bytes() for p in tiles.rglob("*") if p.is_file()} == before

    run(scenario)


def test_a_crash_between_signing_and_publishing(tmp_path: Path) -> None:
    """The signed checkpoint is newer than the published one: it is published at the next start."""

    async def scenario() -> None:
        await write(tmp_path, 1)
        published = (tmp_path / "tiles" / "checkpoint").read_bytes()
        await write(tmp_path, 2)
        (tmp_path / "tiles" / "checkpoint").write_bytes(published)
        await write(tmp_path, 0)
        assert (tmp_path / "tiles" / "checkpoint").read_bytes() == (
            tmp_path / "signed" / "checkpoint"
        ).read_bytes()
        assert fsck(tmp_path).faults == []

    run(scenario)


def test_the_disk_fills_while_publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing fails half-way and is repeated: entries stay durable, health says so, the tree comes out
    right."""

    async def scenario() -> None:
        faults = [OSError(28, "No space left on device")] * 2
        real = Publisher._sign

        def sign(publisher: Publisher) -> None:
            if publisher._tree.edge.size > 1 and faults:
                raise faults.pop()
            real(publisher)

        monkeypatch.setattr(Publisher, "_sign", sign)
        async with opened(tmp_path, publish_interval_s=0.01) as log:
            await fill(log, 1)
            await log.receipt(0, None, 10)
            await fill(log, 400)
            await log.receipt(400, None, 10)
            assert not faults
            assert log.status().healthy
        assert fsck(tmp_path).faults == []

    run(scenario)


def test_rows_changed_under_a_running_log_stop_it(tmp_path: Path) -> None:
    """When a committed row changes before it is published, nothing is signed any more and appends are
    refused."""

    async def scenario() -> None:
        async with opened(tmp_path, publish_interval_s=3600) as log:
            await fill(log, 1)
            await log.receipt(0, None, 10)
            await fill(log, 2)
            edit("UPDATE log_entries SET body = 'x' WHERE idx = 1")(tmp_path)
            for _ in range(2):
                with pytest.raises(LogUnavailable, match="nothing more is published"):
                    await log.receipt(2, None, 10)
            assert not log.status().healthy
            with pytest.raises(LogUnavailable, match="corrupt: entry 1 does not have the leaf hash"):
                await log.append(draft())
        assert b"\n1\n" in (tmp_path / "signed" / "checkpoint").read_bytes()

    run(scenario)


def test_a_second_signer_is_noticed(tmp_path: Path) -> None:
    """If the signed checkpoint changes under us, somebody else signs this log: stop."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await fill(log, 1)
            await log.receipt(0, None, 10)
            (tmp_path / "signed" / "checkpoint").write_bytes(b"another\n")
            await fill(log, 1)
            with pytest.raises(LogUnavailable, match="nothing more is published"):
                await log.receipt(1, None, 10)
            assert "changed by somebody else" in (log.status().last_error or "")

    run(scenario)


def test_unusable_state_directory(tmp_path: Path) -> None:
    """A file in place of the directory, and a database that is none, are LogUnavailable."""

    async def scenario() -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(LogUnavailable, match="cannot use the state directory"):
            await TransparencyLog.open(tmp_path / "file", ORIGIN, clock=lambda: 0)
        await write(tmp_path / "log", 1)
        (tmp_path / "log" / "log.db").write_bytes(b"no database" * 1000)
        with pytest.raises(LogUnavailable, match="cannot open the log"):
            await TransparencyLog.open(tmp_path / "log", ORIGIN, clock=lambda: 0)

    run(scenario)
