"""The Lua programs that run in Valkey, each with the digest by which it is called (``EVALSHA``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """``sha`` is the SHA-1 of ``source`` in hex: a name, not a safeguard."""

    name: str
    source: bytes
    sha: bytes


def _script(name: str) -> Script:
    directory = resources.files(__package__) / "lua"
    source = (directory / "prelude.lua").read_bytes() + (directory / f"{name}.lua").read_bytes()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


ADMIT: Final = _script("admit")
SETTLE: Final = _script("settle")
HOLD: Final = _script("hold")
BEGIN: Final = _script("begin")
LOAD: Final = _script("load")
DUE: Final = _script("due")
BEAT: Final = _script("beat")
HEALTH: Final = _script("health")
STANDING: Final = _script("standing")

ALL: Final = (ADMIT, SETTLE, HOLD, BEGIN, LOAD, DUE, BEAT, HEALTH, STANDING)
