"""The state directory: private, writable or refused in one line, with sockets where their paths fit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sovereign_ext.cli.supervise import layout
from sovereign_ext.errors import StartError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_state_directory_is_private(tmp_path):
    """Only its owner may look into it."""
    root = tmp_path / "a" / "state"
    layout.prepare_root(root)
    assert _mode(root) == 0o700
    assert _mode(root / "logs") == 0o700


def test_an_empty_directory_is_made_private(tmp_path):
    """`mktemp -d` or `mkdir` before the first start is the same as none."""
    root = tmp_path / "state"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    layout.prepare_root(root)
    assert _mode(root) == 0o700


def test_a_directory_with_other_things_keeps_its_mode(tmp_path):
    """Closing a user's home directory is not ours to decide; what we make in it is private all the same."""
    tmp_path.chmod(0o755)
    (tmp_path / "mine.txt").touch()
    layout.prepare_root(tmp_path)
    assert _mode(tmp_path) == 0o755
    assert _mode(tmp_path / "logs") == 0o700


def test_a_directory_that_cannot_be_is_one_clear_line(tmp_path):
    """Below a file nobody, not even root, can make a directory."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"^cannot use .*/file/state as state directory: Not a directory$"):
        layout.prepare_root(tmp_path / "file" / "state")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_one_clear_line(tmp_path):
    """The reason is the system's."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StartError, match="Permission denied"):
            layout.prepare_root(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_sockets_live_in_the_state_directory(tmp_path, monkeypatch):
    """As long as their paths fit."""
    monkeypatch.setattr(layout, "MAX_RUN_DIR_BYTES", len(os.fsencode(tmp_path)) + 4)
    places = layout.open_layout(tmp_path)
    assert places.run_dir == tmp_path / "run"
    layout.remove_foreign_run_dir(places)
    assert places.run_dir.is_dir()


def test_a_long_path_puts_sockets_elsewhere(tmp_path):
    """A Unix socket's path is limited; the directory used instead is private, remembered and taken away."""
    root = tmp_path / ("x" * 90)
    layout.prepare_root(root)
    places = layout.open_layout(root)
    try:
        assert len(os.fsencode(places.run_dir)) <= layout.MAX_RUN_DIR_BYTES
        assert _mode(places.run_dir) == 0o700
        assert (root / "run").resolve() == places.run_dir.resolve()
        assert layout.open_layout(root) == places
        (places.run_dir / "extproc.sock").touch()
    finally:
        layout.remove_foreign_run_dir(places)
    assert not places.run_dir.exists()
    assert not (root / "run").is_symlink()


def test_a_remembered_directory_that_others_can_write_is_not_used(tmp_path):
    """Somebody else may have made one of that name after a reboot emptied the temporary directory."""
    root, foreign = tmp_path / ("x" * 90), tmp_path / "foreign"
    layout.prepare_root(root)
    foreign.mkdir()
    foreign.chmod(0o777)
    (root / "run").symlink_to(foreign)
    places = layout.open_layout(root)
    try:
        assert places.run_dir != foreign
    finally:
        layout.remove_foreign_run_dir(places)
    assert foreign.is_dir()


def test_a_moved_state_directory_still_opens(tmp_path, monkeypatch):
    """From a short path to a long one and back: what was ``run`` before does not matter."""
    layout.prepare_root(tmp_path)
    monkeypatch.setattr(layout, "MAX_RUN_DIR_BYTES", len(os.fsencode(tmp_path)) + 4)
    (layout.open_layout(tmp_path).run_dir / "stale.sock").touch()
    monkeypatch.setattr(layout, "MAX_RUN_DIR_BYTES", len(os.fsencode(tmp_path)) + 3)
    elsewhere = layout.open_layout(tmp_path)
    assert elsewhere.run_dir != tmp_path / "run"
    layout.remove_foreign_run_dir(elsewhere)
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    monkeypatch.undo()
    monkeypatch.setattr(layout, "MAX_RUN_DIR_BYTES", len(os.fsencode(tmp_path)) + 4)
    assert layout.open_layout(tmp_path).run_dir == tmp_path / "run"


def test_write_private_replaces_whole_files(tmp_path):
    """Nobody sees half a file, nobody else sees any of it, and a failure leaves no litter."""
    path = tmp_path / "demo.env"
    path.write_text("old")
    layout.write_private(path, "new")
    assert path.read_text() == "new"
    assert _mode(path) == 0o600
    with pytest.raises(UnicodeEncodeError):
        layout.write_private(path, "\udc80")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
