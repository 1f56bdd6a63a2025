"""Text of ``sovereign.yaml`` → ``Config``, or every fault of it at once, each with its line.

A fault in one place does not hide the others: YAML, shape and cross references are all checked before
anything is reported. Nothing but ``ConfigError`` is raised, whatever the text. Watching the file is in
``live``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from sovereign_ext.config.model import Config
from sovereign_ext.config.reasons import path_of, reason_of
from sovereign_ext.config.references import find_faults
from sovereign_ext.config.yamltree import Path, Tree, dotted, read_yaml
from sovereign_ext.errors import ConfigError, ConfigErrors

MAX_FILE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid file as it was read: ``digest`` is ``sha256:`` and the hex SHA-256 of its bytes."""

    config: Config
    digest: str


def parse(text: str, file: str = "sovereign.yaml") -> Config:
    """Read the text of a configuration file. ``file`` is only used to name the place of a fault.

    Raises ``ConfigErrors`` with every fault, in file order.
    """
    tree = read_yaml(text)
    faults: list[tuple[int | None, Path, str]] = [(f.line, f.path, f.reason) for f in tree.faults]
    config: Config | None = None
    if not tree.is_broken(()) and (tree.data is not None or not tree.faults):
        try:
            # Through JSON, because its strict mode takes lists for tuples and text for enums, but never "4"
            # for 4.
            config = Config.model_validate_json(json.dumps(tree.data), strict=True)
        except ValidationError as error:
            faults += _shape_faults(error, tree)
        covered = {path for _, path, _ in faults}
        faults += [
            (tree.line(path), path, reason)
            for path, reason in find_faults(tree.data)
            if path not in covered and not tree.is_broken(path)
        ]
    if config is None or faults:
        raise ConfigErrors(_in_file_order(faults, file))
    return config


def load(path: str | FilePath) -> Loaded:
    """Read and check the file at ``path``. Raises ``ConfigErrors``, also when the file cannot be read."""
    return decode(read_bytes(path), str(path))


def read_bytes(path: str | FilePath) -> bytes:
    """The bytes of the file. Raises ``ConfigErrors`` if there are none to be had."""
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL character.
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise ConfigErrors([ConfigError(f"cannot be read: {reason}", file=str(path))]) from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigErrors([ConfigError(f"is larger than {MAX_FILE_BYTES} bytes", file=str(path))])
    return raw


def decode(raw: bytes, file: str) -> Loaded:
    """The bytes of a configuration file, checked. Raises ``ConfigErrors``."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([ConfigError("is not UTF-8 text", file=file, line=line)]) from None
    return Loaded(parse(text, file), digest_of(raw))


def digest_of(raw: bytes) -> str:
    """``sha256:`` and the hex SHA-256 of ``raw``."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _shape_faults(error: ValidationError, tree: Tree) -> Iterator[tuple[int | None, Path, str]]:
    for detail in error.errors(include_url=False, include_input=False):
        path = path_of(detail, tree.data)
        if not tree.is_broken(path):
            yield tree.line(path), path, reason_of(detail, path, tree)


def _in_file_order(faults: list[tuple[int | None, Path, str]], file: str) -> list[ConfigError]:
    unique = dict.fromkeys(faults)
    ordered = sorted(unique, key=lambda fault: fault[0] or 0)
    return [ConfigError(reason, file=file, line=line, field=dotted(path)) for line, path, reason in ordered]
