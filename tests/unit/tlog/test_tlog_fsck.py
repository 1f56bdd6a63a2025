"""``sovereign log fsck`` finds every kind of damage and names the place."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from log_world import fill, fsck, opened

from sovereign_ext.attest.entry import parse_body
from sovereign_ext.cli.log import check
from sovereign_ext.cli.logparts import opened as parts_of
from sovereign_ext.cli.main import main
from sovereign_ext.tlog.hashing import leaf_hash

SIZE = 300


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("intact")

    async def scenario() -> None:
        async with opened(state) as log:
            await fill(log, SIZE)

    asyncio.run(scenario())
    return state


@pytest.fixture
def state(intact: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "log"
    shutil.copytree(intact, copy)
    return copy


def sql(state: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(state / "log.db") as connection:
        connection.execute(statement, values)
    connection.close()


def swap_signature(state: Path) -> None:
    """A leaf that is consistent in itself, hash included, but whose signature belongs to another entry."""
    with sqlite3.connect(state / "log.db") as connection:
        bodies = [
            b for (b,) in connection.execute("SELECT body FROM log_entries WHERE idx IN (5, 6) ORDER BY idx")
        ]
        mine, other = (parse_body(body) for body in bodies)
        forged = type(mine)(mine.digest, other.signature, mine.spki).encode()
        connection.execute(
            "UPDATE log_entries SET body = ?, leaf_hash = ? WHERE idx = 5", (forged, leaf_hash(forged))
        )
    connection.close()


def overwrite(name: str, at: int) -> Callable[[Path], None]:
    def apply(state: Path) -> None:
        path = state / "tiles" / name
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(bytes(data))

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "leaf": (
        lambda s: sql(s, "UPDATE log_entries SET body = 'x' WHERE idx = 17"),
        "entry 17: the leaf does not",
    ),
    "leaf hash": (
        lambda s: sql(s, "UPDATE log_entries SET leaf_hash = 'x' WHERE idx = 17"),
        "entry 17: the leaf",
    ),
    "envelope": (
        lambda s: sql(s, "UPDATE log_entries SET envelope = '{}' WHERE idx = 18"),
        "entry 18: malformed DSSE",
    ),
    "other's envelope": (
        lambda s: sql(
            s,
            "UPDATE log_entries SET envelope = (SELECT envelope FROM log_entries WHERE idx = 2)"
            " WHERE idx = 19",
        ),
        "entry 19: ",
    ),
    "signature": (swap_signature, "entry 5: "),
    "row": (lambda s: sql(s, "DELETE FROM log_entries WHERE idx = 20"), "entry 20 is missing"),
    "last row": (lambda s: sql(s, "DELETE FROM log_entries WHERE idx = 299"), "entry 299 is missing"),
    "head back": (lambda s: sql(s, "UPDATE log_head SET next = 299"), "entry 299 lies beyond the head"),
    "full tile": (overwrite("tile/0/000", 40), "tile/0/000 does not hold the entries from 0 on"),
    "partial tile": (
        overwrite("tile/0/001.p/44", 0),
        "tile/0/001.p/44 does not hold the entries from 256 on",
    ),
    "upper tile": (overwrite("tile/1/000.p/1", 0), "tile/1/000.p/1 does not hold"),
    "entry bundle": (overwrite("tile/entries/000", 9), "tile/entries/000 does not hold"),
    "cut bundle": (overwrite("tile/entries/000", 0), "entry bundle is cut off"),
    "missing tile": (lambda s: (s / "tiles/tile/0/000").unlink(), "tile/0/000 is missing"),
    "published checkpoint": (overwrite("checkpoint", 30), "the published checkpoint: "),
    "no checkpoint": (lambda s: (s / "tiles/checkpoint").unlink(), "the published checkpoint is missing"),
    "no signed checkpoint": (
        lambda s: (s / "signed/checkpoint").unlink(),
        "the signed checkpoint is missing",
    ),
}


def test_an_intact_log_has_no_faults(intact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary names size, root and what was read; the exit code is 0."""
    assert main(["log", "fsck", "--state-dir", str(intact)]) == 0
    output = capsys.readouterr().out
    report = fsck(intact)
    assert report.root is not None
    assert f"size {SIZE}, root {report.root.hex()}" in output
    assert f"read {SIZE} entries, 5 tiles, {SIZE} signatures" in output
    assert "no faults" in output


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each damage is reported with its place, and the exit code is 1."""
    damage, expected = DAMAGE[name]
    damage(state)
    assert main(["log", "fsck", "--state-dir", str(state)]) == 1
    output = capsys.readouterr().out
    assert f"fault: {expected}" in output, output


def test_quick_leaves_signatures_out(state: Path) -> None:
    """``--quick`` still finds every fault of the tree, and says that it did not look at signatures."""
    sql(state, "UPDATE log_entries SET envelope = '{}' WHERE idx = 18")
    report = fsck(state, quick=True)
    assert (report.faults, report.signatures) == ([], 0)
    sql(state, "UPDATE log_entries SET body = 'x' WHERE idx = 18")
    assert fsck(state, quick=True).faults[0].startswith("entry 18: ")


def test_a_changed_leaf_with_a_fitting_hash_changes_the_root(state: Path) -> None:
    """Even if a forger fixes leaf hash and tiles, the signed root tells."""
    swap_signature(state)
    assert any("have root" in fault for fault in fsck(state, quick=True).faults)


def test_too_many_faults_end_the_run(state: Path) -> None:
    """A log that is all wrong does not fill the terminal."""
    sql(state, "UPDATE log_entries SET body = 'x'")
    report = fsck(state)
    assert len(report.faults) == 51
    assert report.faults[-1] == "too many faults, stopped here"


def test_beside_a_live_log(tmp_path: Path) -> None:
    """fsck may run while the log grows: entries that are not published yet are no fault."""

    async def scenario() -> None:
        async with opened(tmp_path, publish_interval_s=3600) as log:
            await fill(log, 1)
            await log.receipt(0, None, 10)
            await fill(log, 20)
            report = await asyncio.to_thread(fsck, tmp_path)
            assert (report.faults, report.size, report.rows) == ([], 1, 21)

    asyncio.run(scenario())


def test_a_checkpoint_published_after_the_parts_were_opened(tmp_path: Path) -> None:
    """It is judged by what was signed by then, not by what had been signed before."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await fill(log, 1)
            await log.receipt(0, None, 10)
            with parts_of(tmp_path) as parts:
                await fill(log, 20)
                await log.receipt(20, None, 10)
                report = await asyncio.to_thread(check, parts, quick=True)
            assert (report.faults, report.size) == ([], 21)

    asyncio.run(scenario())


def test_the_log_of_a_gateways_state_directory(tmp_path: Path) -> None:
    """``sovereign up`` keeps its log in ``log`` below the state directory; fsck takes either."""

    async def scenario() -> None:
        async with opened(tmp_path / "log") as log:
            await fill(log, 1)

    asyncio.run(scenario())
    assert main(["log", "fsck", "--state-dir", str(tmp_path)]) == 0
    assert main(["log", "fsck", "--state-dir", str(tmp_path / "log")]) == 0


def test_no_log_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty directory is an error in one line."""
    assert main(["log", "fsck", "--state-dir", str(tmp_path)]) == 1
    assert "there is no log in" in capsys.readouterr().err
