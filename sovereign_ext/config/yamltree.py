"""YAML text → plain data, with the line of every field and everything that is wrong with it as YAML.

YAML 1.1 as PyYAML reads it, in its safe subset: text, numbers, booleans, null, lists, mappings with text
keys, anchors and ``<<`` merges. Dates stay text (the model reads them), any other tag is a fault. It does
not know what the fields mean, and it never raises for what the text holds: faults are collected and
returned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml

Path = tuple[str | int, ...]
"""Where a value is: ``("tenants", 0, "keys", 1, "hash")``."""

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 500_000
"""Aliases let a few lines stand for billions of values; no honest file comes near this."""

MAX_FAULTS: Final = 200

MAX_INTEGER: Final = 2**63 - 1
"""No field takes more, and turning thousands of digits into text is slow enough for Python to refuse it."""

_TAG: Final = "tag:yaml.org,2002:"
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: 1-based ``line``, and ``source`` if YAML read a bare word as something other
    than text.
    """

    line: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class YamlFault:
    """One thing wrong with the text as YAML. ``line`` is 1-based, or ``None`` if it concerns the whole
    file.
    """

    line: int | None
    path: Path
    reason: str


@dataclass(slots=True)
class Tree:
    """What was read. Where a fault is, ``data`` holds ``None`` and ``broken`` holds the path."""

    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    faults: list[YamlFault] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)

    def line(self, path: Path) -> int | None:
        """The line of ``path``, or of the nearest value around it that has one (a missing field has none)."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                return place.line
        return None

    def is_broken(self, path: Path) -> bool:
        """Whether a YAML fault already covers ``path``, so that complaining again would only confuse."""
        return any(path[:length] in self.broken for length in range(len(path) + 1))


def dotted(path: Path) -> str:
    """``tenants[0].keys[1].hash``. A name that could break a line of output is shown quoted and cut."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_NAME.fullmatch(part) else ascii(part[:32]))
    return text


def read_yaml(text: str) -> Tree:
    """Read one YAML document."""
    tree = Tree()
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        tree.faults.append(_syntax_fault(error))
        return tree
    except (ValueError, RecursionError):
        # Lone surrogates cannot be encoded for libyaml; thousands of nested brackets exhaust a pure reader.
        tree.faults.append(YamlFault(None, (), "is not text that YAML can read"))
        return tree
    if root is None:
        tree.faults.append(YamlFault(None, (), "the file is empty"))
        return tree
    tree.data = _Walk(tree).value(root, ())
    return tree


def _syntax_fault(error: yaml.YAMLError) -> YamlFault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    context = getattr(error, "context", None)
    hint = " (YAML does not allow tabs for indentation)" if "cannot start any token" in str(problem) else ""
    reason = f"not valid YAML: {context + ': ' if context else ''}{problem}{hint}"
    return YamlFault(mark.line + 1 if mark is not None else None, (), " ".join(reason.split()))


class _Stop(Exception):
    """Going on would take for ever or drown the reader in faults."""


class _Walk:
    """One pass over the composed nodes, depth first."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._seen = 0
        self._construct = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: Path) -> Any:
        try:
            return self._value(node, path)
        except _Stop:
            return None

    def _value(self, node: yaml.Node, path: Path, line: int | None = None) -> Any:
        self._seen += 1
        if self._seen > MAX_VALUES:
            self._stop(node, path, f"aliases expand to more than {MAX_VALUES} values")
        self._tree.places[path] = Place(line if line is not None else node.start_mark.line + 1)
        # The depth limit also ends an alias that refers to a value around it.
        if len(path) > MAX_DEPTH:
            self._stop(node, path[:4], f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        return self._fault(node, path, "YAML tags are not supported here")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged |= self._merge(value, path)
        own: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _TAG + "merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                shown = f"`{_short(key.value)}`" if isinstance(key, yaml.ScalarNode) else "this key"
                self._fault(key, path, f"{shown} is not text to YAML; put the name in quotes", broken=False)
            elif key.value in own:
                reason = f"given twice, first on line {first_line[key.value]}"
                self._fault(key, (*path, key.value), reason, broken=False)
            else:
                first_line[key.value] = line
                own[key.value] = self._value(value, (*path, key.value), line)
        return merged | own

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        # In a list the first mapping wins, so it is read last.
        for source in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            if not isinstance(source, yaml.MappingNode):
                self._fault(node, path, "<< takes a mapping or a list of mappings", broken=False)
            elif any(key.tag == _TAG + "merge" for key, _ in source.value):
                # Otherwise a mapping could merge itself for ever.
                self._fault(node, path, "<< of a mapping that itself holds << is not supported", broken=False)
            else:
                merged |= self._mapping(source, path)
        return merged

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in {"str", "timestamp"}:
            if any("\ud800" <= char <= "\udfff" for char in node.value):
                return self._fault(node, path, "holds half of a surrogate pair")
            return node.value
        self._tree.places[path] = Place(self._tree.places[path].line, _short(node.value))
        build = {
            "null": lambda _: None,
            "bool": self._construct.construct_yaml_bool,
            "int": self._construct.construct_yaml_int,
            "float": self._construct.construct_yaml_float,
        }.get(kind)
        if build is None:
            return self._fault(node, path, "YAML tags are not supported here")
        try:
            value = build(node)
            if isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise ValueError
            return value
        except (ValueError, OverflowError, KeyError, IndexError):  # an explicit tag on any text: `!!int x`
            return self._fault(node, path, f"`{_short(node.value)}` cannot be read as {kind}")

    def _fault(self, node: yaml.Node, path: Path, reason: str, *, broken: bool = True) -> None:
        self._tree.faults.append(YamlFault(node.start_mark.line + 1, path, reason))
        if broken:
            self._tree.broken.add(path)
        if len(self._tree.faults) >= MAX_FAULTS:
            raise _Stop

    def _stop(self, node: yaml.Node, path: Path, reason: str) -> NoReturn:
        self._fault(node, path, reason)
        self._tree.broken.add(())
        raise _Stop


def _short(source: str) -> str:
    return source if len(source) <= 24 and source.isprintable() else ascii(source[:20]) + "…"
