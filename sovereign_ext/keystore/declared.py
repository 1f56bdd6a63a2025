"""Credentials that ``sovereign.yaml`` points at: an environment variable or a file.

A file is read again when it changes (checked at most once a second), so a rotated key needs no restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sovereign_ext.config.model import Provider
from sovereign_ext.keystore.base import CredentialMissingError
from sovereign_ext.secret import Secret

_LOOK_AGAIN_S: Final = 1.0


class DeclaredKeystore:
    """Reads what ``provider.credential`` names. ``clock`` gives monotonic seconds."""

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._environ = environ
        self._clock = clock
        self._files: dict[str, tuple[float, Secret]] = {}

    def find(self, provider: Provider) -> Secret | None:
        source = provider.credential
        if source is None:
            return None
        if source.env is not None:
            value = self._environ.get(source.env, "").strip()
            if not value:
                raise CredentialMissingError(f"environment variable {source.env} is not set")
            return Secret(value)
        assert source.file is not None
        return self._read(source.file)

    def _read(self, path: str) -> Secret:
        now = self._clock()
        known = self._files.get(path)
        if known is not None and now - known[0] < _LOOK_AGAIN_S:
            return known[1]
        try:
            value = Path(os.path.expanduser(path)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            value = ""
        if not value:
            raise CredentialMissingError(f"file {path} cannot be read or is empty")
        secret = Secret(value)
        self._files[path] = (now, secret)
        return secret
