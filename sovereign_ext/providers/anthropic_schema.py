"""A JSON schema in the part of JSON Schema that Claude's structured outputs keep to.

Source: Anthropic's documentation of structured outputs, and what its SDK (2.12) does with schemas. Every object must
say that it has no other members; where a schema leaves that open, an answer without others fits it too. Constraints
that are not kept to are told in the description instead. A schema that has a use for members of any name, or for
conditions, has no such form: ``closed`` gives ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.openai.request import Request

_FORMATS: Final = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
})  # fmt: skip
_CONSTRAINTS: Final = frozenset({
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "minProperties", "maxProperties",
})  # fmt: skip
_OPEN: Final = frozenset({
    "patternProperties", "propertyNames", "unevaluatedProperties", "dependentSchemas", "dependentRequired", "not", "if",
    "then", "else", "prefixItems", "unevaluatedItems",
})  # fmt: skip
_BY_NAME: Final = ("properties", "$defs", "definitions")
_LISTS: Final = ("anyOf", "allOf")
_MAX_DEPTH: Final = 64


def closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as it can be kept to; ``None`` if it cannot."""
    try:
        return _schema(schema, 0)
    except _Unfit:
        return None


class _Unfit(Exception):
    """The schema asks for something that has no form."""


def _schema(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH or _OPEN & schema.keys():
        raise _Unfit
    found: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _BY_NAME:
            found[name] = {key: _schema(one, depth + 1) for key, one in _mapping(value).items()}
        elif name in _LISTS or name == "oneOf":
            found["anyOf" if name == "oneOf" else name] = [_schema(one, depth + 1) for one in _list(value)]
        elif name == "items":
            found[name] = _schema(value, depth + 1)
        elif name in _CONSTRAINTS or _is_told(name, value):
            told[name] = value
        elif name not in ("$schema", "$id", "strict", "additionalProperties"):
            found[name] = value
    if _is_object(schema):
        if schema.get("additionalProperties", False) is not False:
            raise _Unfit
        found["additionalProperties"] = False
        found.setdefault("properties", {})
    if told:
        text = msgspec.json.encode(told).decode()
        described = found.get("description")
        found["description"] = f"{described}\n\n{text}" if isinstance(described, str) and described else text
    return found


def _is_told(name: str, value: Any) -> bool:
    return (name == "minItems" and value not in (0, 1)) or (name == "format" and value not in _FORMATS)


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    named = "object" in kind if isinstance(kind, list) else kind == "object"
    return named or (kind is None and "properties" in schema)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unfit
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unfit
    return value


def needs_imitation(request: Request, *, native: bool) -> bool:
    """Whether the structured output that ``request`` asks for is had from a forced tool: the model does not keep to
    schemas by itself (``native``), or not to this one."""
    form = request.values.get("response_format")
    named = form.get("json_schema") if isinstance(form, dict) and form.get("type") == "json_schema" else None
    schema = named.get("schema") if isinstance(named, dict) else None
    return isinstance(schema, dict) and not (native and closed(schema) is not None)
