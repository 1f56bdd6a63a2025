"""The smallest JSON value that a JSON Schema (draft 2020-12, the part that providers accept) calls valid.

Covers $ref within the document, const, enum, default, type, required, properties, items, prefixItems, the
numeric and length bounds, common formats, anyOf, oneOf and allOf. Not covered: ``pattern``, ``not``, ``if``
and uniqueItems beyond what falls out of the rest. A schema that recurses without end is cut at a fixed depth.
"""

from __future__ import annotations

import math
from typing import Any

_DEPTH = 24
_MOST_VALUES = 5_000
_MOST_CHARACTERS = 100_000
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
    return _Builder(schema, optional).instance(schema, _DEPTH)


class _Builder:
    """Builds one instance, within a budget: schemas come from requests and may ask for exponentially much."""

    def __init__(self, root: Any, optional: bool) -> None:
        self._root = root
        self._optional = optional
        self._left = _MOST_VALUES
        self._characters = _MOST_CHARACTERS

    def instance(self, schema: Any, depth: int) -> Any:
        """A value for this part of the schema; ``None`` once depth or budget is used up."""
        self._left -= 1
        if not isinstance(schema, dict) or depth == 0 or self._left < 0:
            return None
        schema = _merged(schema, self._root, depth)
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
                option = _simplest(schema[union])
                return self.instance({**rest, **_merged(option, self._root, depth)}, depth - 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        match str(kind).lower():  # Gemini's OpenAPI subset writes OBJECT, STRING, …
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number" as numeric:
                return _number(schema, whole=numeric == "integer")
            case "boolean":
                return True
            case _:
                return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = _dict(schema.get("properties"))
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        names = list(dict.fromkeys([*required, *properties])) if self._optional else required
        return {name: self.instance(properties.get(name, {}), depth - 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix = _list(schema.get("prefixItems"))
        count = max(_whole(schema.get("minItems")), 1 if self._optional and "items" in schema else 0)
        items = [self.instance(part, depth - 1) for part in prefix[:count]]
        while len(items) < count and self._left > 0:
            items.append(self.instance(schema.get("items", {}), depth - 1))
        return items

    def _string(self, schema: dict[str, Any]) -> str:
        known = _FORMATS.get(str(schema.get("format")))
        if known is not None:
            return known
        text = "example"
        longest = schema.get("maxLength")
        if isinstance(longest, int) and longest >= 0:
            text = text[:longest]
        length = min(_whole(schema.get("minLength")), self._characters)
        self._characters -= length
        return text.ljust(length, "x")


def _simplest(options: list[Any]) -> Any:
    """Null where null is allowed: it also ends recursion."""
    return next((one for one in options if isinstance(one, dict) and one.get("type") == "null"), options[0])


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _real(value: Any) -> float | None:
    return (
        value
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
        else None
    )


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
        properties = {**_dict(whole.get("properties")), **_dict(flat.get("properties"))}
        required = [*_list(whole.get("required")), *_list(flat.get("required"))]
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


def _number(schema: dict[str, Any], *, whole: bool) -> float | int:
    low, high = _real(schema.get("minimum")), _real(schema.get("maximum"))
    above, below = _real(schema.get("exclusiveMinimum")), _real(schema.get("exclusiveMaximum"))
    low, high = above if low is None else low, below if high is None else high
    step = _real(schema.get("multipleOf")) or (1 if whole else None)
    if step is not None and step > 0:
        try:
            return _stepped(low, high, (above, below), step)
        except OverflowError:  # bounds beyond any float: nothing sensible to say
            return step
    if low is not None and high is not None:
        return (low + high) / 2
    if low is not None:
        return low + 1
    return 1 if high is None else high - 1


def _stepped(
    low: float | None, high: float | None, excluded: tuple[float | None, float | None], step: float
) -> float | int:
    if low is not None:
        value = math.ceil(low / step) * step
        return value + step if value == excluded[0] else value
    if high is not None and high <= step:
        value = math.floor(high / step) * step
        return value - step if value == excluded[1] else value
    return step
