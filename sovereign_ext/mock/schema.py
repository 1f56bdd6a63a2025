"""The smallest JSON value that a JSON Schema (draft 2020-12, the part that providers accept) calls valid.

Covers $ref within the document, const, enum, default, type, required, properties, items, prefixItems, the
numeric and length bounds, common formats, anyOf, oneOf and allOf. Not covered: ``pattern``, ``not``, ``if``
and uniqueItems beyond what falls out of the rest. A schema that recurses without end is cut at a fixed depth.
"""

from __future__ import annotations

import math
from typing import Any

_DEPTH = 24
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal(schema: Any, *, optional: bool = False) -> Any:
    """An instance of ``schema``.

    With ``optional`` the properties that are not required are filled in as well.
    """
    return _instance(schema, schema, optional, _DEPTH)


def _instance(schema: Any, root: Any, optional: bool, depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    schema = _merged(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    for chosen in ("enum", "examples"):
        if isinstance(schema.get(chosen), list) and schema[chosen]:
            return schema[chosen][0]
    if "default" in schema:
        return schema["default"]
    for union in ("anyOf", "oneOf"):
        if isinstance(schema.get(union), list) and schema[union]:
            rest = {key: value for key, value in schema.items() if key != union}
            return _instance({**rest, **_merged(schema[union][0], root, depth)}, root, optional, depth - 1)
    return _typed(schema, root, optional, depth)


def _merged(schema: Any, root: Any, depth: int) -> dict[str, Any]:
    """Follow ``$ref`` and fold ``allOf`` into one flat schema."""
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and depth > 0:
        depth -= 1
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = _resolve(schema["$ref"], root)
        schema = {**target, **rest} if isinstance(target, dict) else rest
    if not isinstance(schema, dict):
        return {}
    parts = schema.get("allOf")
    if not isinstance(parts, list) or depth == 0:
        return schema
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        flat = _merged(part, root, depth - 1)
        properties = {**whole.get("properties", {}), **flat.get("properties", {})}
        required = [*whole.get("required", []), *flat.get("required", [])]
        whole = {**whole, **flat}
        if properties:
            whole |= {"properties": properties, "required": required}
    return whole


def _resolve(ref: str, root: Any) -> Any:
    """A JSON Pointer (RFC 6901) within ``root``; ``None`` when it points nowhere."""
    if not ref.startswith("#"):
        return None
    node = root
    for part in ref[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _typed(schema: dict[str, Any], root: Any, optional: bool, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match str(kind).lower():  # Gemini's OpenAPI subset writes OBJECT, STRING, …
        case "object":
            return _object(schema, root, optional, depth)
        case "array":
            return _array(schema, root, optional, depth)
        case "string":
            return _string(schema)
        case "integer" | "number" as numeric:
            return _number(schema, whole=numeric == "integer")
        case "boolean":
            return True
        case _:
            return None


def _object(schema: dict[str, Any], root: Any, optional: bool, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    names = list(dict.fromkeys([*required, *properties])) if optional else required
    return {name: _instance(properties.get(name, {}), root, optional, depth - 1) for name in names}


def _array(schema: dict[str, Any], root: Any, optional: bool, depth: int) -> list[Any]:
    prefix = schema.get("prefixItems") or []
    count = max(int(schema.get("minItems") or 0), 1 if optional and "items" in schema else 0)
    items = [_instance(part, root, optional, depth - 1) for part in prefix[:count]]
    while len(items) < count:
        items.append(_instance(schema.get("items", {}), root, optional, depth - 1))
    return items


def _string(schema: dict[str, Any]) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    text = "example"
    longest = schema.get("maxLength")
    if isinstance(longest, int):
        text = text[:longest]
    return text.ljust(int(schema.get("minLength") or 0), "x")


def _number(schema: dict[str, Any], *, whole: bool) -> float | int:
    low: float | None = schema.get("minimum", schema.get("exclusiveMinimum"))
    high: float | None = schema.get("maximum", schema.get("exclusiveMaximum"))
    step: float | None = schema.get("multipleOf") or (1 if whole else None)
    if step is not None:
        return _stepped(schema, low, high, step)
    if low is not None and high is not None:
        return (low + high) / 2
    if low is not None:
        return low + 1
    return 1 if high is None else high - 1


def _stepped(schema: dict[str, Any], low: float | None, high: float | None, step: float) -> float | int:
    if low is not None:
        value = math.ceil(low / step) * step
        return value + step if value == schema.get("exclusiveMinimum") else value
    if high is not None and high <= step:
        value = math.floor(high / step) * step
        return value - step if value == schema.get("exclusiveMaximum") else value
    return step
