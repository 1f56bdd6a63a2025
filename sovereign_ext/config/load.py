"""Text of ``sovereign.yaml``, and resources of the database → ``Config``, or every fault at once, each with its place.

A fault in one place does not hide the others: YAML, shape and cross references are all checked before
anything is reported. Nothing but ``ConfigError`` is raised, whatever the text. The files that it refers to are
read with it (``documents``), watching all of them is in ``live``, and what the documents say is checked by
``registry``. File and database are checked as one (``merge``): a fault of what the database holds is named by its
resource instead of a line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from sovereign_ext.config.documents import Document, Reference, read_documents, references
from sovereign_ext.config.merge import NOTHING, Owners, Stored, merge, owner_of
from sovereign_ext.config.model import Config
from sovereign_ext.config.reasons import path_of, reason_of
from sovereign_ext.config.references import find_faults
from sovereign_ext.config.trust import INLINE
from sovereign_ext.config.yamltree import Path, Tree, dotted, read_yaml
from sovereign_ext.errors import ConfigError, ConfigErrors

MAX_FILE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration: a file and its documents as they were read, with the resources of a database.

    ``file_digest`` is ``sha256:`` and the hex SHA-256 of the file's bytes; where it refers to documents, of a text that
    holds the digest of the file and the path and digest of every document (see ``digest_of``). ``digest`` is the same
    where there are no resources, else of that and theirs.
    """

    config: Config
    digest: str
    documents: tuple[Document, ...] = ()
    file: str = "sovereign.yaml"  # as it was named, for messages
    raw: bytes = field(default=b"", repr=False)
    stored: Stored = NOTHING
    owners: Owners = field(default_factory=dict)

    @property
    def file_digest(self) -> str:
        """The digest of the file and what it refers to alone."""
        return digest_of(self.raw, self.documents) if self.stored.documents else self.digest

    @property
    def files(self) -> dict[str, bytes]:
        """What is in each document, by its path."""
        return {document.path: document.raw for document in self.documents}

    def named(self, error: ConfigError) -> ConfigError:
        """``error``, found after this was loaded, with the resources' names instead of places in the file."""
        found = [_renamed(fault, self) for fault in error.faults]
        return ConfigErrors(found) if len(found) > 1 else found[0]


def parse(text: str, file: str = "sovereign.yaml") -> Config:
    """Read the text of a configuration file. ``file`` is only used to name the place of a fault.

    Documents are not looked at. Raises ``ConfigErrors`` with every fault, in file order.
    """
    return _parse(text, file, NOTHING)[0]


def _parse(text: str, file: str, stored: Stored) -> tuple[Config, Tree, Owners]:
    tree = read_yaml(text)
    merged = merge(tree.data, stored)
    tree.data = merged.data
    faults: list[tuple[int | None, Path, str]] = [(f.line, f.path, f.reason) for f in tree.faults]
    config: Config | None = None
    if not tree.is_broken(()) and (tree.data is not None or not tree.faults):
        try:
            # Through JSON, because its strict mode takes lists for tuples and text for enums, but never "4"
            # for 4.
            config = Config.model_validate_json(json.dumps(tree.data), strict=True)
        except ValidationError as error:
            faults += _shape_faults(error, tree)
        faults += [(tree.line(path), path, reason) for path, reason in merged.faults]
        covered = {path for _, path, _ in faults}
        faults += [
            (tree.line(path), path, reason)
            for path, reason in find_faults(tree.data)
            if path not in covered and not tree.is_broken(path)
        ]
    if config is None or faults:
        raise ConfigErrors(_in_file_order(faults, file, merged.owners))
    return config, tree, merged.owners


def load(path: str | FilePath, stored: Stored = NOTHING) -> Loaded:
    """Read and check the file at ``path``, with the resources. Raises ``ConfigErrors``, also when it cannot be read."""
    return decode(read_bytes(path), str(path), stored)


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


def decode(raw: bytes, file: str, stored: Stored = NOTHING) -> Loaded:
    """The bytes of a configuration file, checked with the resources, and the documents that it refers to.

    ``file`` also says which directory the documents are relative to. Raises ``ConfigErrors``.
    """
    return load_documents(raw, parse_bytes(raw, file, stored), file, stored)


def again(loaded: Loaded, stored: Stored) -> Loaded:
    """The same file and files with other resources; nothing is read. Raises ``ConfigErrors``."""
    config, _, owners = parse_bytes(loaded.raw, loaded.file, stored)
    files = tuple(document for document in loaded.documents if not document.path.startswith(INLINE))
    inline, _ = read_documents(
        tuple(reference for reference in references(config) if reference.text is not None),
        base_of(loaded.file),
    )
    documents = (*files, *inline)
    return Loaded(
        config, _digest(loaded.raw, documents, stored), documents, loaded.file, loaded.raw, stored, owners
    )


def foundation(raw: bytes, file: str) -> Config:
    """The parts of a file that say where the resources are, ``origin`` and ``storage``; everything else is left out.

    Raises ``ConfigErrors`` with every fault of the file where those parts are wrong.
    """
    tree = read_yaml(raw.decode("utf-8-sig", "replace"))
    data = tree.data if isinstance(tree.data, dict) else {}
    parts = {name: data[name] for name in ("version", "origin", "storage") if name in data}
    try:
        return Config.model_validate_json(json.dumps(parts), strict=True)
    except ValidationError:
        return parse_bytes(raw, file)[0]


Parsed = tuple[Config, Tree, Owners]


def parse_bytes(raw: bytes, file: str, stored: Stored = NOTHING) -> Parsed:
    """The bytes of a configuration file, checked with the resources, documents apart. Raises ``ConfigErrors``."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([ConfigError("is not UTF-8 text", file=file, line=line)]) from None
    return _parse(text, file, stored)


def load_documents(raw: bytes, parsed: Parsed, file: str, stored: Stored = NOTHING) -> Loaded:
    """What was parsed from ``raw``, with its documents. Raises ``ConfigErrors`` for those that are missing."""
    config, tree, owners = parsed
    wanted: tuple[Reference, ...] = references(config)
    documents, missing = read_documents(wanted, base_of(file))
    if missing:
        faults = [(tree.line(fault.field), fault.field, fault.reason) for fault in missing]
        raise ConfigErrors(_in_file_order(faults, file, owners))
    return Loaded(config, _digest(raw, documents, stored), documents, file, raw, stored, owners)


def base_of(file: str | FilePath) -> FilePath:
    """The directory that the paths in a configuration file are relative to."""
    return FilePath(file).parent


def digest_of(raw: bytes, documents: tuple[Document, ...] = ()) -> str:
    """The digest of a file with what it refers to: see ``Loaded``. The order of the documents does not count."""
    own = "sha256:" + hashlib.sha256(raw).hexdigest()
    listed = sorted((each.path, each.digest) for each in documents if not each.path.startswith(INLINE))
    if not listed:
        return own
    return "sha256:" + hashlib.sha256(json.dumps([own, listed]).encode()).hexdigest()


def _digest(raw: bytes, documents: tuple[Document, ...], stored: Stored) -> str:
    own = digest_of(raw, documents)
    if not stored.documents:
        return own
    return "sha256:" + hashlib.sha256(json.dumps([own, stored.digest]).encode()).hexdigest()


def _shape_faults(error: ValidationError, tree: Tree) -> Iterator[tuple[int | None, Path, str]]:
    for detail in error.errors(include_url=False, include_input=False):
        path = path_of(detail, tree.data)
        if not tree.is_broken(path):
            yield tree.line(path), path, reason_of(detail, path, tree)


def _in_file_order(
    faults: list[tuple[int | None, Path, str]], file: str, owners: Owners
) -> list[ConfigError]:
    """Those of the file by their lines, then those of resources."""
    unique = dict.fromkeys(faults)
    ordered = sorted(unique, key=lambda fault: fault[0] or 0)
    told = [(owner_of(path, owners), line, path, reason) for line, path, reason in ordered]
    own = [
        ConfigError(reason, file=file, line=line, field=dotted(path))
        for of, line, path, reason in told
        if not of
    ]
    return own + [ConfigError(reason, file=of[0], field=dotted(of[1])) for of, _, _, reason in told if of]


def _renamed(fault: ConfigError, loaded: Loaded) -> ConfigError:
    """With the name of the resource it is about, for a fault of its field or of a document that it holds."""
    if fault.file.startswith(INLINE):
        for reference in references(loaded.config):
            if reference.path == fault.file:
                of = owner_of(reference.field, loaded.owners)
                inner = ".".join(
                    part for part in (dotted(of[1] if of else reference.field), fault.field) if part
                )
                return ConfigError(fault.reason, file=of[0] if of else loaded.file, field=inner)
        return fault
    if fault.line is not None or fault.file not in ("", loaded.file):
        return fault
    for place, name in loaded.owners.items():
        prefix = dotted(place)
        if fault.field == prefix or fault.field.startswith(prefix + "."):
            return ConfigError(
                fault.reason, file=name, field=fault.field.removeprefix(prefix).removeprefix(".")
            )
    return fault
