"""Text of ``sovereign.yaml`` → ``Config``, or every fault of it at once, each with its line.

A fault in one place does not hide the others: YAML, shape and cross references are all checked before
anything is reported. Nothing but ``ConfigError`` is raised, whatever the text. The files that it refers to are
read with it (``documents``), watching all of them is in ``live``, and what the documents say is checked by
``registry``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from sovereign_ext.config.documents import Document, Reference, read_documents, references
from sovereign_ext.config.model import Config
from sovereign_ext.config.reasons import path_of, reason_of
from sovereign_ext.config.references import find_faults
from sovereign_ext.config.yamltree import Path, Tree, dotted, read_yaml
from sovereign_ext.errors import ConfigError, ConfigErrors

MAX_FILE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid file and its documents as they were read.

    ``digest`` is ``sha256:`` and the hex SHA-256 of the file's bytes; where it refers to documents, of a text that
    holds the digest of the file and the path and digest of every document (see ``digest_of``).
    """

    config: Config
    digest: str
    documents: tuple[Document, ...] = ()
    file: str = "sovereign.yaml"  # as it was named, for messages


def parse(text: str, file: str = "sovereign.yaml") -> Config:
    """Read the text of a configuration file. ``file`` is only used to name the place of a fault.

    Documents are not looked at. Raises ``ConfigErrors`` with every fault, in file order.
    """
    return _parse(text, file)[0]


def _parse(text: str, file: str) -> tuple[Config, Tree]:
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
    return config, tree


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
    """The bytes of a configuration file, checked, with the documents that it refers to.

    ``file`` also says which directory the documents are relative to. Raises ``ConfigErrors``.
    """
    return load_documents(raw, *parse_bytes(raw, file), file)


def parse_bytes(raw: bytes, file: str) -> tuple[Config, Tree]:
    """The bytes of a configuration file, checked, documents apart. Raises ``ConfigErrors``."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([ConfigError("is not UTF-8 text", file=file, line=line)]) from None
    return _parse(text, file)


def load_documents(raw: bytes, config: Config, tree: Tree, file: str) -> Loaded:
    """``config``, parsed from ``raw``, with its documents. Raises ``ConfigErrors`` for those that are missing."""
    wanted: tuple[Reference, ...] = references(config)
    documents, missing = read_documents(wanted, base_of(file))
    if missing:
        faults = [(tree.line(fault.field), fault.field, fault.reason) for fault in missing]
        raise ConfigErrors(_in_file_order(faults, file))
    return Loaded(config, digest_of(raw, documents), documents, file)


def base_of(file: str | FilePath) -> FilePath:
    """The directory that the paths in a configuration file are relative to."""
    return FilePath(file).parent


def digest_of(raw: bytes, documents: tuple[Document, ...] = ()) -> str:
    """The digest of a configuration: see ``Loaded``. The order of the documents does not count."""
    own = "sha256:" + hashlib.sha256(raw).hexdigest()
    if not documents:
        return own
    listed = sorted((document.path, document.digest) for document in documents)
    return "sha256:" + hashlib.sha256(json.dumps([own, listed]).encode()).hexdigest()


def _shape_faults(error: ValidationError, tree: Tree) -> Iterator[tuple[int | None, Path, str]]:
    for detail in error.errors(include_url=False, include_input=False):
        path = path_of(detail, tree.data)
        if not tree.is_broken(path):
            yield tree.line(path), path, reason_of(detail, path, tree)


def _in_file_order(faults: list[tuple[int | None, Path, str]], file: str) -> list[ConfigError]:
    unique = dict.fromkeys(faults)
    ordered = sorted(unique, key=lambda fault: fault[0] or 0)
    return [ConfigError(reason, file=file, line=line, field=dotted(path)) for line, path, reason in ordered]
