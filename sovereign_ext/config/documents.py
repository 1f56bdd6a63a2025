"""The files that ``sovereign.yaml`` refers to: keys, statements, manifests, roots.

They are read together with it, relative to its directory, and belong to the configuration: a change of one of them
is a change of the configuration. What is in them is ``registry``'s matter. Provider credentials are not among
them: secrets are read where they are used. Neither is ``tls_ca_file``, relative to the same directory, which Envoy
reads itself.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from sovereign_ext.config.model import Config, InlineStatement
from sovereign_ext.config.trust import document_path
from sovereign_ext.config.yamltree import Path

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""A manifest names every file of a model, some 200 bytes each."""

MAX_DOCUMENTS: Final = 10_000

FileState = tuple[int, int, int] | None
"""(mtime_ns, size, inode) of the file behind all links; ``None`` while there is none."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in the configuration that names a file, or files by a pattern, or holds a document's ``text`` itself."""

    field: Path
    path: str
    statement: bool = False
    text: str | None = dataclasses.field(default=None, repr=False)

    @property
    def is_pattern(self) -> bool:
        """Whether it may name several files, or none."""
        return self.text is None and self.statement and glob.has_magic(self.path)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that the configuration refers to. ``path`` is as written there, for a pattern as found by it.

    ``statement`` is whether it is there to be read as a signed statement.
    """

    path: str
    raw: bytes
    statement: bool = False

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex SHA-256 of the bytes."""
        return "sha256:" + hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """What is wrong with a file, and the field that names it."""

    field: Path
    reason: str


def references(config: Config) -> tuple[Reference, ...]:
    """Every place that names a file, statements last."""
    return tuple(_references(config))


def _references(config: Config) -> Iterator[Reference]:  # noqa: PLR0912 - a list of places
    trust, log = config.trust, config.log
    for section in ("publishers", "witnesses", "observers"):
        for index, signatory in enumerate(getattr(trust, section)):
            yield from _either(("trust", section, index), signatory, "key_file", "key")
    for index, model in enumerate(config.models):
        yield from _either(("models", index), model, "manifest", "manifest_bundle")
    if log.policy_file is not None:
        yield Reference(("log", "policy_file"), log.policy_file)
    for index, provider in enumerate(config.providers):
        yield from _either(("providers", index), provider, "key_file", "key")
        for name in ("jwks", "root", "ca"):
            yield from _either(("providers", index, "evidence"), provider.evidence, f"{name}_file", name)
    for index, mirror in enumerate(log.mirrors):
        yield from _either(("log", "mirrors", index), mirror, "ca_file", "ca")
    for index, anchor in enumerate(log.anchors):
        for name in ("key", "ca"):
            yield from _either(("log", "anchors", index), anchor, f"{name}_file", name)
    for index, issuer in enumerate(config.oidc.issuers):
        yield from _either(("oidc", "issuers", index), issuer, "jwks_file", "jwks")
        yield from _either(("oidc", "issuers", index), issuer, "ca_file", "ca")
    for index, webhook in enumerate(config.findings.webhooks):
        yield from _either(("findings", "webhooks", index), webhook, "ca_file", "ca")
    for index, named in enumerate(trust.statements):
        place: Path = ("trust", "statements", index)
        if isinstance(named, InlineStatement):
            yield Reference((*place, "envelope"), named.path, statement=True, text=named.envelope)
        else:
            yield Reference(place, named, statement=True)


def _either(place: Path, item: object, file: str, text: str) -> Iterator[Reference]:
    """The document that ``item`` names in its field ``file``, or holds in its field ``text``."""
    named, given = getattr(item, file, None), getattr(item, text, None)
    path = document_path(named, given)
    if path is not None:
        yield Reference((*place, text if named is None else file), path, text=given)


def matches(reference: Reference, base: FilePath) -> tuple[str, ...]:
    """The paths that a reference stands for, sorted. Only a pattern can stand for none, or for several."""
    if not reference.is_pattern:
        return (reference.path,)
    found = glob.iglob(reference.path, root_dir=base, recursive=True)
    return tuple(sorted(path for path in found if not os.path.isdir(os.path.join(base, path))))


def idle_patterns(config: Config, base: FilePath) -> tuple[DocumentFault, ...]:
    """Patterns that find nothing: no fault, since statements may come later, but perhaps a slip of the pen."""
    return tuple(
        DocumentFault(reference.field, f"{_shown(reference.path)} finds no file")
        for reference in references(config)
        if reference.is_pattern and not matches(reference, base)
    )


def read_documents(
    wanted: tuple[Reference, ...], base: FilePath
) -> tuple[tuple[Document, ...], tuple[DocumentFault, ...]]:
    """Every file referred to, each once, in the order of the references; and those that cannot be had.

    A file that something else refers to is not read as a statement, even where a pattern finds it.
    """
    documents: dict[str, Document] = {}
    faults: list[DocumentFault] = []
    for reference in wanted:
        for path in matches(reference, base):
            if path in documents:
                continue
            if reference.text is not None:
                documents[path] = Document(path, reference.text.encode("utf-8"), reference.statement)
                continue
            if len(documents) >= MAX_DOCUMENTS:
                faults.append(DocumentFault(reference.field, f"more than {MAX_DOCUMENTS} files"))
                return tuple(documents.values()), tuple(faults)
            try:
                documents[path] = Document(path, _read(base / path), reference.statement)
            except (OSError, ValueError) as error:
                # ValueError: a path with a NUL character, or one of our own refusals.
                reason = getattr(error, "strerror", None) or str(error)
                faults.append(DocumentFault(reference.field, f"{_shown(path)} cannot be read: {reason}"))
    return tuple(documents.values()), tuple(faults)


def _read(path: FilePath) -> bytes:
    with open(path, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("not a regular file")
        raw = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    return raw


def _without_waiting(path: str, flags: int) -> int:
    # A named pipe would make an ordinary open wait for somebody to write to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _shown(path: str) -> str:
    return f"'{path}'" if path.isprintable() else "the file"


def file_state(path: str | FilePath) -> FileState:
    """What changes when the file does, without reading it."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def documents_state(wanted: tuple[Reference, ...], base: FilePath) -> tuple[tuple[str, FileState], ...]:
    """The state of every file referred to, with those that a pattern finds now."""
    named = (reference for reference in wanted if reference.text is None)
    found = dict.fromkeys(path for reference in named for path in matches(reference, base))
    # Joined as text: this is done four times a second.
    return tuple((path, file_state(os.path.join(base, path))) for path in found)
