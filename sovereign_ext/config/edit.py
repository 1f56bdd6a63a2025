"""Small changes to the text of ``sovereign.yaml`` that keep every comment and the layout.

Text in, text out. A change is a textual insertion at a place the YAML parser named; the result is parsed
again and must differ from the original in exactly the key that was meant. Where that fails (aliases, unusual
layout) the answer is ``None`` and nothing has been changed: a person has to do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import yaml

from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Config, Key
from sovereign_ext.errors import ConfigError

Section = Literal["tenants", "admins"]

_STR: Final = "tag:yaml.org,2002:str"
_RESOLVER: Final = yaml.resolver.Resolver()


def key_document(key: Key) -> dict[str, object]:
    """The key as it is written into the file; fields without a value are left out."""
    document: dict[str, object] = {"id": key.id, "hash": key.hash}
    if key.expires_at is not None:
        document["expires_at"] = key.expires_at
    if key.revoked_at is not None:
        document["revoked_at"] = key.revoked_at
    return document


def snippet(key: Key) -> str:
    """The lines that a person would add to a list of keys."""
    return "".join(line + "\n" for line in _item(key_document(key), 0))


def add_key(text: str, section: Section, owner: str, key: Key) -> str | None:
    """``text`` with ``key`` at the end of the owner's keys.

    An admin that does not exist yet is added; a tenant must exist. Raises ``ConfigErrors`` if ``text`` is not
    a valid configuration to begin with.
    """
    config = parse(text)
    root = _root(text)
    place = _find(root, section, owner)
    if place is not None:
        changed = _append(text, place, "keys", key_document(key))
        expected = _with_keys(config, section, owner, lambda keys: (*keys, key))
    elif section == "admins":
        changed = _append(text, root, "admins", {"id": owner, "keys": [key_document(key)]})
        admin = {"id": owner, "keys": [key.model_dump()]}
        expected = Config.model_validate({**config.model_dump(), "admins": [*config.admins, admin]})
    else:
        return None
    return _checked(changed, expected)


def revoke_key(text: str, section: Section, owner: str, key_id: str, at: datetime) -> str | None:
    """``text`` with ``revoked_at`` set on a key that has none, or a later one. Raises as ``add_key``."""
    config = parse(text)
    place = _find(_root(text), section, owner)
    keys = None if place is None else _get(place, "keys")
    node = None if keys is None else _with_id(keys, key_id)
    if node is None:
        return None
    old = _get(node, "revoked_at")
    if old is None:
        changed = _add_field(text, node, "revoked_at", _scalar(at))
    else:
        changed = text[: old.start_mark.index] + _scalar(at) + text[old.end_mark.index :]

    def revoked(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        return tuple(key.model_copy(update={"revoked_at": at}) if key.id == key_id else key for key in keys)

    return _checked(changed, _with_keys(config, section, owner, revoked))


def _checked(changed: str | None, expected: Config) -> str | None:
    if changed is None:
        return None
    try:
        return changed if parse(changed) == expected else None
    except ConfigError:
        return None


def _with_keys(config: Config, section: Section, owner: str, change: Any) -> Config:
    owners = tuple(
        each.model_copy(update={"keys": change(each.keys)}) if each.id == owner else each
        for each in getattr(config, section)
    )
    return config.model_copy(update={section: owners})


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "parse() has accepted the text"
    return root


def _find(root: yaml.Node, section: Section, owner: str) -> yaml.Node | None:
    owners = _get(root, section)
    return None if owners is None else _with_id(owners, owner)


def _with_id(sequence: yaml.Node, wanted: str) -> yaml.Node | None:
    if isinstance(sequence, yaml.SequenceNode):
        for item in sequence.value:
            found = _get(item, "id")
            if found is not None and found.value == wanted:
                return item  # type: ignore[no-any-return]
    return None


def _get(mapping: yaml.Node, name: str) -> yaml.Node | None:
    if isinstance(mapping, yaml.MappingNode):
        for key, value in mapping.value:
            if key.value == name:
                return value  # type: ignore[no-any-return]
    return None


def _append(text: str, parent: yaml.Node, name: str, item: Mapping[str, object]) -> str | None:
    """Add ``item`` to the list ``name`` of the mapping ``parent``, making the list if there is none."""
    node = _get(parent, name)
    if node is None:
        return _add_list(text, parent, name, item)
    if not isinstance(node, yaml.SequenceNode):
        return None
    if not node.value:
        return _fill_empty(text, parent, node, item)
    last = node.value[-1]
    if node.flow_style:
        return _insert(text, last.end_mark.index, ", " + _flow(item))
    column = node.start_mark.column
    if getattr(last, "flow_style", False):
        return _insert_lines(text, _end(last), [" " * column + "- " + _flow(item)])
    return _insert_lines(text, _end(last), _item(item, column))


def _fill_empty(text: str, parent: yaml.Node, node: yaml.Node, item: Mapping[str, object]) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if getattr(parent, "flow_style", False) or text[start:end] != "[]":
        return _insert(text, start + 1, _flow(item))
    column = parent.value[0][0].start_mark.column
    before = text[:start].rstrip(" ")
    return _insert_lines(before + text[end:], len(before), _item(item, column + 2))


def _add_list(text: str, parent: yaml.Node, name: str, item: Mapping[str, object]) -> str | None:
    if not isinstance(parent, yaml.MappingNode) or not parent.value:
        return None
    if parent.flow_style:
        return _add_field(text, parent, name, f"[{_flow(item)}]")
    column = parent.value[0][0].start_mark.column
    # Next to the id, where people look for it, or at the end of the file for a section.
    pair = next((pair for pair in parent.value if pair[0].value == "id"), parent.value[-1])
    return _insert_lines(text, _end(pair[1]), [" " * column + name + ":", *_item(item, column + 2)])


def _add_field(text: str, mapping: yaml.Node, name: str, value: str) -> str | None:
    if not isinstance(mapping, yaml.MappingNode) or not mapping.value:
        return None
    end = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return _insert(text, end, f", {name}: {value}")
    column = mapping.value[0][0].start_mark.column
    return _insert_lines(text, end, [" " * column + f"{name}: {value}"])


def _end(node: yaml.Node) -> int:
    """The index after the last character of ``node``. (A block collection's own mark is after the
    comments.)
    """
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _insert(text: str, index: int, added: str) -> str:
    return text[:index] + added + text[index:]


def _insert_lines(text: str, after: int, lines: list[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    end = text.find("\n", after)
    added = newline.join(lines)
    if end < 0:
        return text + newline + added + newline
    return _insert(text, end + 1, added + newline)


def _item(item: Mapping[str, object], column: int) -> list[str]:
    """A mapping as an item of a block list whose dashes are in ``column``."""
    lines: list[str] = []
    for name, value in item.items():
        lead = " " * column + ("  " if lines else "- ")
        if isinstance(value, list):
            lines.append(f"{lead}{name}:")
            for inner in value:
                lines += _item(inner, column + 4)
        else:
            lines.append(f"{lead}{name}: {_scalar(value)}")
    return lines


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    text = str(value)
    plain = ":" not in text and _tag(text) == _STR
    return text if plain else f'"{text}"'  # ids and hashes hold nothing that needs escaping


def _tag(text: str) -> object:
    return _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
