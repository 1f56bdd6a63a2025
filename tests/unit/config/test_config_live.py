"""Following the file: what is noticed, when, and what a bad edit does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.config.live import Follower, Live, watch
from sovereign_ext.config.load import Loaded, load
from sovereign_ext.errors import ConfigError
from sovereign_ext.policy.evaluate import routable

ONE = "version: 1\nmodels: [{id: one}]\n"
TWO = "version: 1\nmodels: [{id: two}]\n"  # as long as ONE
THREE = "version: 1\nmodels: [{id: three}]\n"
BAD = "version: 1\nmodels: [{id: no}]\n"


def put(path: Path, text: str) -> None:
    """Write in place with a fresh mtime, as an editor does some time after the last poll."""
    path.write_text(text)
    put.clock += 1_000_000_000  # type: ignore[attr-defined]
    os.utime(path, ns=(put.clock, put.clock))  # type: ignore[attr-defined]


put.clock = 1_700_000_000_000_000_000  # type: ignore[attr-defined]


def seen(follower: Follower, polls: int = 3) -> list[str]:
    """What so many polls in a row report: model ids, ``fault`` or nothing."""
    outcomes = [follower.poll() for _ in range(polls)]
    return [
        each.config.models[0].id if isinstance(each, Loaded) else "fault"
        for each in outcomes
        if each is not None
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sovereign.yaml"
    put(path, ONE)
    return path


@pytest.fixture
def follower(file: Path) -> Follower:
    made = Follower(file, load(file).digest)
    assert seen(made) == []
    return made


def replaced(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    put(other, text)
    other.replace(path)


def rewritten_at_once(path: Path, text: str) -> None:
    """Same size, and an mtime set back to what it was: only the inode tells."""
    before = path.stat()
    replaced(path, text)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [put, replaced, rewritten_at_once])
def test_every_way_of_saving_is_noticed_once(
    file: Path, follower: Follower, change: Callable[[Path, str], None]
) -> None:
    """In place, by atomic rename, and with size and time unchanged."""
    change(file, TWO)
    assert seen(follower) == ["two"]
    change(file, ONE)
    assert seen(follower) == ["one"]


def test_the_symlink_swap_of_a_config_map_is_noticed(tmp_path: Path) -> None:
    """Kubernetes replaces the directory behind ``..data``; the path itself never changes."""
    for name, text in (("v1", ONE), ("v2", TWO)):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "sovereign.yaml", text)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "sovereign.yaml"
    path.symlink_to("..data/sovereign.yaml")
    follower = Follower(path, load(path).digest)
    assert seen(follower) == []
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert seen(follower) == ["two"]


def test_a_change_between_reading_and_watching_is_noticed(file: Path) -> None:
    """The digest, not the file's state at the first poll, is what the follower starts from."""
    digest = load(file).digest
    put(file, TWO)
    assert seen(Follower(file, digest)) == ["two"]


def test_a_file_is_read_only_once_it_stands_still(file: Path, follower: Follower) -> None:
    """While somebody is still writing, every poll sees another state and nothing is read."""
    for cut in range(10, len(TWO)):
        put(file, TWO[:cut])
        assert follower.poll() is None
    put(file, TWO)
    assert seen(follower) == ["two"]


def test_touching_the_file_changes_nothing(file: Path, follower: Follower) -> None:
    """The text counts, not the time."""
    put(file, ONE)
    assert seen(follower) == []


def test_faults_are_reported_once_and_repaired_by_the_next_edit(file: Path, follower: Follower) -> None:
    """A bad text is not parsed over and over, and going back to the good one is a change again."""
    put(file, BAD)
    assert seen(follower, 5) == ["fault"]
    put(file, ONE)
    assert seen(follower, 5) == ["one"]


def test_a_vanished_file_is_reported_once_and_may_come_back(file: Path, follower: Follower) -> None:
    """A gap of one poll (some editors delete before they write) is not worth a report; a lasting one is."""
    file.unlink()
    assert follower.poll() is None
    put(file, ONE)
    assert seen(follower) == []
    file.unlink()
    assert seen(follower, 5) == ["fault"]
    put(file, TWO)
    assert seen(follower, 5) == ["two"]


def run_watch(file: Path, steps: list[Callable[[], None]], live: Live, **more: object) -> list[float]:
    """Run ``watch`` without waiting: before every look comes the next step, the last one cancels."""
    slept: list[float] = []

    async def until(look: Callable[[], Any], every_s: float) -> Any:
        found = None
        while found is None:
            slept.append(every_s)
            if len(slept) > len(steps):
                raise asyncio.CancelledError
            steps[len(slept) - 1]()
            found = look()
        return found

    async def accept(loaded: Loaded) -> None:
        live.use(live.prepare(loaded))

    callbacks = {"on_change": accept, "on_faults": live.refuse} | more
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch(file, known=live.snapshot.digest, until=until, **callbacks))  # type: ignore[arg-type]
    return slept


def nothing() -> None:
    pass


def test_a_good_edit_takes_effect_and_counts_a_version(file: Path) -> None:
    """The snapshot taken before stays as it was."""
    live = Live(load(file), routable)
    before = live.snapshot
    slept = run_watch(file, [nothing, lambda: put(file, TWO), nothing, nothing], live)
    assert set(slept) == {0.25}
    assert (live.snapshot.version, live.snapshot.config.models[0].id) == (2, "two")
    assert (before.version, before.config.models[0].id) == (1, "one")
    assert live.snapshot.digest == load(file).digest


def test_a_bad_edit_keeps_the_last_good_configuration(file: Path) -> None:
    """The faults are there to be shown, and gone when the file is mended; the version counts uses."""
    live = Live(load(file), routable)
    run_watch(file, [nothing, lambda: put(file, BAD), nothing, nothing], live)
    assert (live.snapshot.version, live.snapshot.config.models[0].id) == (1, "one")
    assert [fault.line for fault in live.faults] == [2]
    run_watch(file, [nothing, nothing, lambda: put(file, ONE), nothing, nothing], live)
    assert (live.snapshot.version, live.faults) == (1, ())


def test_a_refusal_by_the_application_is_reported_like_a_fault(file: Path) -> None:
    """A file may be right in itself and still not usable here."""
    live = Live(load(file), routable)

    async def refuse(_: Loaded) -> None:
        raise ConfigError("no such credential")

    run_watch(file, [nothing, lambda: put(file, TWO), nothing, nothing], live, on_change=refuse)
    assert [fault.reason for fault in live.faults] == ["no such credential"]
    assert live.snapshot.version == 1


def test_the_next_change_waits_until_the_last_is_dealt_with(file: Path) -> None:
    """However long that takes: an edit made meanwhile comes after it, never before."""
    live = Live(load(file), routable)
    order: list[str] = []

    async def slow(loaded: Loaded) -> None:
        name = loaded.config.models[0].id
        order.append(f"{name} begins")
        if name == "two":
            put(file, THREE)
        for _ in range(100):  # as many turns of the loop as another poll could want
            await asyncio.sleep(0)
        order.append(f"{name} ends")

    run_watch(file, [nothing, lambda: put(file, TWO), *[nothing] * 4], live, on_change=slow)
    assert order == ["two begins", "two ends", "three begins", "three ends"]


def test_a_version_counts_uses_and_not_preparations(file: Path) -> None:
    """What was prepared while another came into use follows it, also when it is what was in use before."""
    live = Live(load(file), routable)
    put(file, TWO)
    two = live.prepare(load(file))
    put(file, ONE)
    one_again = live.prepare(load(file))
    put(file, THREE)
    three = live.prepare(load(file))
    assert one_again is live.snapshot
    used = [live.use(prepared) for prepared in (two, three, one_again)]
    assert [each.version for each in used] == [2, 3, 4]
    assert [each.config.models[0].id for each in used] == ["two", "three", "one"]
    assert live.snapshot is used[-1]


def test_faults_of_a_newer_file_stay_when_an_older_one_comes_into_use(file: Path) -> None:
    """Whoever uses a configuration says what is still wrong; by default nothing is."""
    live = Live(load(file), routable)
    put(file, TWO)
    two = live.prepare(load(file))
    newer = ConfigError("broken")
    live.use(two, newer.faults)
    assert list(live.faults) == [newer]
    live.use(live.snapshot)
    assert not live.faults
