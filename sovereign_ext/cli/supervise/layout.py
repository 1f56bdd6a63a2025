"""The state directory: where keys, configuration, log, sockets and the children's output are.

Everything is readable by its owner only. Deliberately not here: what any of the files contain.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sovereign_ext.errors import StartError
from sovereign_ext.settings import ADMIN_SOCKET, READY_FILE

MAX_RUN_DIR_BYTES = 78
"""The shortest ``sun_path`` is macOS's, 104 bytes with its NUL; 25 are left for a slash and a name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The places in one state directory. ``run_dir``, for Unix sockets, may lie outside of ``root``."""

    root: Path
    run_dir: Path

    @property
    def config(self) -> Path:
        return self.root / "sovereign.yaml"

    @property
    def env_file(self) -> Path:
        """``SF_BASE_URL``, ``SF_API_KEY`` and ``SF_ADMIN_KEY``, one assignment a line, readable by shells."""
        return self.root / "demo.env"

    @property
    def ports_file(self) -> Path:
        return self.root / "demo-ports.json"

    @property
    def facts_file(self) -> Path:
        """What the first start made that later ones have to know, as JSON; nothing secret."""
        return self.root / "demo-facts.json"

    @property
    def trust(self) -> Path:
        """Keys, statements and certificates of the demo."""
        return self.root / "trust"

    @property
    def mirror(self) -> Path:
        """The mirror's own state."""
        return self.root / "mirror"

    @property
    def record(self) -> Path:
        """What the running supervisor last said about itself, as JSON."""
        return self.root / "supervisor.json"

    @property
    def bootstrap(self) -> Path:
        return self.root / "envoy" / "bootstrap.yaml"

    @property
    def admin_socket(self) -> Path:
        """Envoy's."""
        return self.run_dir / ADMIN_SOCKET

    @property
    def processor_ready(self) -> Path:
        return self.run_dir / READY_FILE

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"


def lock_file(root: Path) -> Path:
    """The file whose lock says that a supervisor runs on this state directory."""
    return root / "supervisor.lock"


def prepare_root(root: Path) -> None:
    """Make the state directory, or see that the one there can be used.

    A directory that others may read is closed to them when it is new or empty; one that already holds other
    things keeps its mode, since closing a user's home or checkout is not ours to decide.
    Raises ``StartError`` when it cannot be made or written.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(root.iterdir()):
            root.chmod(0o700)
        for part in ("logs", "envoy"):
            (root / part).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise StartError(f"cannot use {root} as state directory: {error.strerror}") from error


def open_layout(root: Path) -> Layout:
    """The places in a prepared state directory; makes the directory for sockets.

    Where ``root``'s own path is too long for a Unix socket, a private directory under the system's temporary
    directory is used; the symbolic link ``run`` in the state directory remembers it.
    """
    own = root / "run"
    if own.is_symlink():
        if _is_private(target := own.readlink()):
            return Layout(root, target)
        own.unlink()
    if len(os.fsencode(own)) <= MAX_RUN_DIR_BYTES:
        own.mkdir(mode=0o700, exist_ok=True)
        return Layout(root, own)
    shutil.rmtree(own, ignore_errors=True)  # left from before the state directory was moved
    elsewhere = Path(tempfile.mkdtemp(prefix="sovereign-"))
    if len(os.fsencode(elsewhere)) > MAX_RUN_DIR_BYTES:
        elsewhere.rmdir()
        raise StartError(f"no path short enough for Unix sockets: shorten {root} or the one in TMPDIR")
    own.symlink_to(elsewhere)
    return Layout(root, elsewhere)


def remove_foreign_run_dir(layout: Layout) -> None:
    """Take away a socket directory that ``open_layout`` made outside of the state directory."""
    link = layout.root / "run"
    if not link.is_symlink():
        return
    shutil.rmtree(layout.run_dir)
    link.unlink()


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner may read it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_private(directory: Path) -> bool:
    """Ours alone: a shared temporary directory may hold somebody else's of the same name."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
