"""Credentials that ``providers[].credential`` points at: an environment variable or a file. The chain's last resort.

Not a ``Source``: it knows nothing of tenants, and what is declared and missing is an error.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from sovereign_ext.config.documents import FileState, file_state
from sovereign_ext.config.model import Provider
from sovereign_ext.keystore.base import CredentialMissingError
from sovereign_ext.secret import Secret


class Declared:
    """Reads what ``provider.credential`` names, each time it is asked."""

    name = "declared"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._files: dict[Path, FileState] = {}  # as they were when they were read, or looked at last

    async def find(self, provider: Provider) -> Secret | None:
        """The credential, ``None`` if the provider names none. Raises ``CredentialMissingError``."""
        source = provider.credential
        if source is None:
            return None
        if source.env is not None:
            value = self._environ.get(source.env, "").strip()
            if not value:
                raise CredentialMissingError(f"environment variable {source.env} is not set")
            return Secret(value)
        assert source.file is not None
        path = _expanded(source.file)
        # Before it is read: a change while it is read is then noticed.
        self._files[path] = await asyncio.to_thread(file_state, path)
        try:
            value = (await asyncio.to_thread(path.read_text, "utf-8")).strip()
        except (OSError, UnicodeDecodeError, ValueError):
            value = ""
        if not value:
            raise CredentialMissingError(f"file {source.file} cannot be read or is empty")
        return Secret(value)

    def changed(self) -> bool:
        """Whether a file that was read is another since. May block: for a thread."""
        known = dict(self._files)
        now = {path: file_state(path) for path in known}
        self._files.update(now)
        return now != known


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path))
