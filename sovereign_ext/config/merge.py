"""The file's data and the resources of the database → the data of one configuration, and whose each part is.

Values in, values out: nothing is validated here but that no two things have one name and that a resource names nothing
on this machine; ``load`` checks the whole as it checks a file. Resources stand behind what the file has, in the order
of their names, so that every replica makes the same of the same.

A resource's document is the item as the file would have it, except that it names no file and no environment variable:
who may use the management API may not thereby read what is on the router's disk. Documents are given as text instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.yamltree import Path

NEVER: Final = -1
"""The revision before the first."""


@dataclass(frozen=True, slots=True)
class Section:
    """Where resources of a ``kind`` are in the file, and the first part of their names."""

    kind: str
    collection: str
    path: tuple[str, ...]


SECTIONS: Final = (
    Section("publisher", "publishers", ("trust", "publishers")),
    Section("witness", "witnesses", ("trust", "witnesses")),
    Section("observer", "observers", ("trust", "observers")),
    Section("statement", "statements", ("trust", "statements")),
    Section("mirror", "mirrors", ("log", "mirrors")),
    Section("anchor", "anchors", ("log", "anchors")),
    Section("policy", "policies", ("policies",)),
    Section("model", "models", ("models",)),
    Section("provider", "providers", ("providers",)),
    Section("deployment", "deployments", ("deployments",)),
)

BY_KIND: Final[Mapping[str, Section]] = {section.kind: section for section in SECTIONS}

KINDS: Final = tuple(BY_KIND)
"""Kinds of resources that are configuration. Tenants, keys and operators are the directory's."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one resource. Without a ``document`` it was deleted."""

    name: str
    kind: str
    document: Mapping[str, Any] | None
    revision: int = NEVER


@dataclass(frozen=True, slots=True)
class Stored:
    """The resources of the database that are configuration: document by name, as of ``revision``.

    Each document is plain data, an item of its section.
    """

    revision: int = NEVER
    kinds: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def changed(self, changes: Iterable[Change]) -> Stored:
        """As it is after those changes, in their order."""
        kinds, documents, revision = dict(self.kinds), dict(self.documents), self.revision
        for change in changes:
            revision = max(revision, change.revision)
            if change.document is None:
                kinds.pop(change.name, None)
                documents.pop(change.name, None)
            else:
                kinds[change.name], documents[change.name] = change.kind, change.document
        return (
            self
            if revision == self.revision and documents == self.documents
            else Stored(revision, kinds, documents)
        )

    def of(self, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Name and document of every resource of a kind, in the order of their names."""
        return ((name, self.documents[name]) for name in sorted(self.documents) if self.kinds[name] == kind)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex SHA-256 over all names and documents; the revision does not count."""
        listed = [[name, self.documents[name]] for name in sorted(self.documents)]
        return "sha256:" + hashlib.sha256(canonical_json(listed)).hexdigest()


NOTHING: Final = Stored()

Owners = Mapping[Path, str]
"""The resource that stands at a place of the merged data; what is not in it is the file's."""


@dataclass(frozen=True, slots=True)
class Merged:
    """``data`` is what a file would hold that had everything. ``faults`` are places and reasons."""

    data: Any
    owners: Owners
    faults: tuple[tuple[Path, str], ...] = ()


def merge(data: Any, stored: Stored) -> Merged:
    """The file's ``data`` with the resources in their sections. What is not of the right shape stays as it is."""
    if not stored.documents or not isinstance(data, Mapping):
        return Merged(data, {})
    merged = dict(data)
    owners: dict[Path, str] = {}
    faults: list[tuple[Path, str]] = []
    for section in SECTIONS:
        added = list(stored.of(section.kind))
        held = _opened(merged, section.path) if added else None
        if held is None:
            continue
        known = {name: at for at, item in enumerate(held) if (name := name_of(section, item)) is not None}
        for name, document in added:
            if name in known:
                faults.append(
                    ((*section.path, known[name]), f"{name} is in the database, too; delete one of the two")
                )
                continue
            place: Path = (*section.path, len(held))
            owners[place] = name
            faults += [((*place, *path), reason) for path, reason in _named_here(document)]
            held.append(document)
    return Merged(merged, owners, tuple(faults))


def name_of(section: Section, item: object) -> str | None:
    """The name that an item of a section has in the API; ``None`` for what names files, or is of another shape."""
    if not isinstance(item, Mapping):
        return None
    if section.kind == "statement":
        text = item.get("envelope")
        return f"statements/{hashlib.sha256(text.encode()).hexdigest()}" if isinstance(text, str) else None
    if section.kind == "mirror":
        parts = str(item.get("key")).split("+")
        return f"mirrors/{parts[1]}" if len(parts) > 2 else None
    if not isinstance(item.get("id"), str):
        return None
    if section.kind == "deployment":
        return f"providers/{item.get('provider')}/deployments/{item['id']}"
    return f"{section.collection}/{item['id']}"


def names_a_resource(name: str) -> bool:
    """Whether ``name`` is that of a resource that is configuration; a file is called otherwise."""
    head, slash, rest = name.partition("/")
    return bool(slash and rest) and head in _COLLECTIONS and not name.endswith((".yaml", ".yml"))


_COLLECTIONS: Final = frozenset(section.collection for section in SECTIONS)


def owner_of(path: Path, owners: Owners) -> tuple[str, Path] | None:
    """The resource that ``path`` lies in, and the path within it."""
    for length in (2, 3):
        if path[:length] in owners:
            return owners[path[:length]], path[length:]
    return None


def names_in(data: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that ``data`` holds and that has a name."""
    for section in SECTIONS:
        for item in items_of(data, section):
            name = name_of(section, item)
            if name is not None:
                yield section.kind, name


def items_of(data: Any, section: Section) -> Sequence[Any]:
    """The items of a section; none where there is no list."""
    for step in section.path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data if isinstance(data, list | tuple) else ()


def _opened(merged: dict[str, Any], path: Sequence[str]) -> list[Any] | None:
    """The list at ``path``, made anew so that the file's own data stay as they were; ``None`` if it is no list."""
    here = merged
    for step in path[:-1]:
        inner = here.get(step)
        if inner is None:
            inner = {}
        if not isinstance(inner, Mapping):
            return None
        here[step] = dict(inner)
        here = here[step]
    items = here.get(path[-1])
    if items is not None and not isinstance(items, list | tuple):
        return None
    here[path[-1]] = list(items or ())
    return here[path[-1]]  # type: ignore[no-any-return]


def _named_here(document: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Fields that name something of this machine."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            if value is None:
                continue
            if name.endswith("_file") or (not path and name == "manifest"):
                yield (
                    (*path, name),
                    "names a file of the router's machine; only sovereign.yaml may, give the text here",
                )
            elif not path and name == "credential":
                reason = "names something of the router's machine; only sovereign.yaml may, set a provider key instead"
                yield (*path, name), reason
            else:
                yield from _named_here(value, (*path, name))
    elif isinstance(document, Iterable) and not isinstance(document, str):
        for at, item in enumerate(document):
            yield from _named_here(item, (*path, at))
