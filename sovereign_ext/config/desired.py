"""What a declarative file wants of a running router, beside what the router has → steps. Values in, values out.

The file has the shape of ``sovereign.yaml``, in sections that can be resources. Things are compared as models of
``config``, so that a default that is written out is no difference, nor is ``"4"`` beside ``4`` where the API writes
large numbers as text. Order: what is referred to is made before what refers to it, and taken away after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from sovereign_ext.config import model, trust
from sovereign_ext.config.merge import BY_KIND, Section, items_of, name_of
from sovereign_ext.config.reasons import model_in, path_of, reason_of
from sovereign_ext.config.yamltree import Path, Tree, dotted
from sovereign_ext.errors import ConfigError

TENANT: Final = Section("tenant", "tenants", ("tenants",))

MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "publisher": trust.Signatory,
    "witness": trust.Witness,
    "observer": trust.Signatory,
    "mirror": trust.Mirror,
    "anchor": trust.Anchor,
    "model": model.Model,
    "provider": model.Provider,
    "deployment": model.Deployment,
    "statement": model.InlineStatement,
    "policy": model.Policy,
    "tenant": model.Tenant,
}
"""By kind, each behind all kinds that it may refer to."""

NOT_SHOWN: Final = {"provider": frozenset({"credential"}), "tenant": frozenset({"keys"})}
"""Fields of the file that the API does not have."""


class Action(StrEnum):
    """What becomes of a resource."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Thing:
    """A resource, wanted or there. ``document`` is the item as the file has it, without what is default."""

    name: str
    kind: str
    document: Mapping[str, Any]
    declared: bool = False
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field, by its dotted path; ``None`` where it is not given."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one resource. ``wanted`` is absent for a deletion, ``found`` for a creation."""

    action: Action
    name: str
    kind: str
    wanted: Thing | None = None
    found: Thing | None = None
    differences: tuple[Difference, ...] = field(default=())


def section_of(kind: str) -> Section:
    """Where a kind is in the file."""
    return TENANT if kind == TENANT.kind else BY_KIND[kind]


def wanted(data: Any) -> list[Thing]:
    """Everything that the file's data have, in its order. Raises ``ConfigError`` for what cannot be a resource."""
    return [
        thing
        for kind in MODELS
        for at, item in enumerate(items_of(data, section_of(kind)))
        for thing in (_wanted(kind, item, (*section_of(kind).path, at), data),)
    ]


def sections_in(data: Any) -> frozenset[str]:
    """The kinds whose section the file has, empty or not."""
    found = set()
    for kind in MODELS:
        here = data
        for step in section_of(kind).path:
            here = here.get(step) if isinstance(here, Mapping) else None
        if here is not None:
            found.add(kind)
    return frozenset(found)


def strangers(data: Mapping[str, Any]) -> Iterator[str]:
    """Fields of the file that no resource stands for: they are ``sovereign.yaml``'s alone."""
    known: dict[str, set[str]] = {}
    for kind in MODELS:
        head, *rest = section_of(kind).path
        known.setdefault(head, set()).update(rest)
    for name, value in data.items():
        if name == "version":
            continue
        if name not in known:
            yield name
        elif known[name] and isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value if inner not in known[name])


def shown(kind: str, message: Mapping[str, Any]) -> Thing:
    """A resource as the API shows it in JSON."""
    name = str(message["name"])
    data = _fitting(message, MODELS[kind])
    if kind == "deployment":
        _, provider, _, own = name.split("/")
        data |= {"provider": provider, "id": own}
    elif kind not in ("statement", "mirror"):
        data["id"] = name.partition("/")[2]
    document = _document(kind, MODELS[kind].model_validate(data))
    return Thing(name, kind, document, bool(message.get("declared")), str(message.get("etag") or ""))


def plan(things: Iterable[Thing], there: Iterable[Thing], prune: frozenset[str] = frozenset()) -> list[Step]:
    """The steps in their order; none where everything is as wanted. Of the kinds ``prune``, the rest is deleted."""
    found = {thing.name: thing for thing in there}
    wants = {thing.name: thing for thing in things}
    steps = []
    for thing in _ordered(wants.values()):
        present = found.get(thing.name)
        if present is None:
            steps.append(Step(Action.CREATE, thing.name, thing.kind, wanted=thing))
        elif changed := tuple(differences(present.document, thing.document)):
            steps.append(Step(Action.UPDATE, thing.name, thing.kind, thing, present, changed))
    leaving = [
        thing
        for thing in found.values()
        if thing.kind in prune and thing.name not in wants and not thing.declared
    ]
    return steps + [
        Step(Action.DELETE, thing.name, thing.kind, found=thing) for thing in reversed(_ordered(leaving))
    ]


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Field by field; lists are compared as wholes."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            inner = f"{path}.{name}" if path else name
            yield from differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield Difference(path, before, after)


def as_file(things: Iterable[Thing]) -> dict[str, Any]:
    """The file that wants exactly those."""
    data: dict[str, Any] = {"version": 1}
    for thing in sorted(things, key=lambda thing: thing.name):
        here = data
        *outer, last = section_of(thing.kind).path
        for step in outer:
            here = here.setdefault(step, {})
        here.setdefault(last, []).append(dict(thing.document))
    return data


def _wanted(kind: str, item: Any, path: Path, data: Any) -> Thing:
    section = section_of(kind)
    for name in NOT_SHOWN.get(kind, ()):
        if isinstance(item, Mapping) and item.get(name):
            raise ConfigError(f"cannot be applied: {_INSTEAD[name]}", field=dotted((*path, name)))
    try:
        found = MODELS[kind].model_validate(item)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = (*path, *path_of(detail, item))
        raise ConfigError(reason_of(detail, place, Tree(data)), field=dotted(place)) from None
    document = _document(kind, found)
    named = f"tenants/{document['id']}" if kind == "tenant" else name_of(section, document)
    assert named is not None, "what is valid has a name"
    return Thing(named, kind, document)


_INSTEAD: Final = {
    "credential": "it names something of the router's machine; set a provider key instead",
    "keys": "keys are made with `sovereign keys new --api`",
}


def _document(kind: str, found: BaseModel) -> dict[str, Any]:
    hidden = NOT_SHOWN.get(kind, frozenset())
    return found.model_dump(mode="json", exclude_defaults=True, exclude=set(hidden))


def _fitting(data: Mapping[str, Any], into: type[BaseModel]) -> dict[str, Any]:
    """The members that the model has and that say something: the API shows empty ones, too."""
    fitting = {}
    for name, info in into.model_fields.items():
        value = data.get(name)
        if value in (None, "", [], {}):
            continue
        inner = model_in(info.annotation)
        if inner is not None and isinstance(value, Mapping):
            value = _fitting(value, inner)
            if not value:
                continue
        elif inner is not None and isinstance(value, list):
            value = [_fitting(item, inner) if isinstance(item, Mapping) else item for item in value]
        fitting[name] = value
    return fitting


def _ordered(things: Iterable[Thing]) -> list[Thing]:
    """By kind; policies behind those that they shadow with."""
    kinds = list(MODELS)
    ordered = sorted(things, key=lambda thing: (kinds.index(thing.kind), thing.name))
    policies = {thing.document["id"]: thing for thing in ordered if thing.kind == "policy"}
    behind: dict[str, Thing] = {}

    def put(name: str, above: tuple[str, ...]) -> None:
        if name in policies and name not in behind and name not in above:
            for shadow in _texts(policies[name].document.get("shadows")):
                put(shadow, (*above, name))
            behind[name] = policies[name]

    for name in policies:
        put(name, ())
    turn = iter(behind.values())
    return [next(turn) if thing.kind == "policy" else thing for thing in ordered]


def _texts(value: Any) -> Sequence[str]:
    return value if isinstance(value, list) else ()
