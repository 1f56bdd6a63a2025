"""JSON Schema as the OpenAPI subset that Google's older models take (``Schema`` of google-genai 3.4).

What the subset has no word for is said in its own where that is the same or nearly so: ``const`` is an ``enum`` of one,
``oneOf`` is ``anyOf``, ``allOf`` is folded, ``$ref`` is replaced by what it names, ``["string", "null"]`` is
``nullable``, exclusive bounds are inclusive ones. What is left has no effect on which values the model is shown
(``$schema``, ``multipleOf``, ``uniqueItems``, ``not``, ``if`` …) and goes. Schemas are the caller's and may be hostile:
depth and the number of nodes are bounded, and a ``$ref`` into itself is refused because the subset cannot recurse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import invalid

MAX_DEPTH: Final = 32
MAX_NODES: Final = 5_000
"""A schema whose references unfold to more than that is refused; Google refuses large ones far earlier."""

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_TEXTS: Final = ("title", "description", "pattern", "format")
_NUMBERS: Final = ("minimum", "maximum")
_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_EXCLUSIVE: Final = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_UNIONS: Final = ("anyOf", "oneOf")


def openapi_schema(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    """``schema`` in Google's subset. Raises ``CallerError`` 400 naming ``param`` if it cannot be said there."""
    return _Converter(schema, param).node(schema, 0, frozenset())


class _Converter:
    """Converts one document. ``open_`` are the references that the node at hand is inside of."""

    def __init__(self, root: Mapping[str, Any], param: str) -> None:
        self._root = root
        self._param = param
        self._left = MAX_NODES

    def node(self, schema: Any, depth: int, open_: frozenset[str]) -> dict[str, Any]:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise invalid(
                self._param,
                f"a schema of at most {MAX_DEPTH} levels and {MAX_NODES} nodes, references unfolded",
            )
        if not isinstance(schema, dict):  # true: anything at all
            return {}
        schema, open_ = self._flat(schema, open_, depth)
        for union in _UNIONS:
            if isinstance(schema.get(union), list):
                return self._union(schema, union, depth, open_)
        kinds = self._kinds(schema)
        real = [kind for kind in kinds if kind != "null"]
        if len(real) > 1:
            made = _any_of([self.node({**schema, "type": kind}, depth + 1, open_) for kind in real])
        else:
            made = self._scalars(schema)
            if kinds:
                made["type"] = (real or kinds)[0].upper()
            self._inner(made, schema, depth, open_)
        return _nullable(made) if real and len(real) < len(kinds) else made

    def _union(
        self, schema: Mapping[str, Any], union: str, depth: int, open_: frozenset[str]
    ) -> dict[str, Any]:
        """``anyOf`` of options that hold what stands beside it: Google takes nothing beside it."""
        beside = {name: value for name, value in schema.items() if name != union}
        options, null = [], False
        for each in schema[union]:
            flat, inside = self._flat(each, open_, depth + 1) if isinstance(each, dict) else ({}, open_)
            if flat.get("type") == "null":
                null = True
            elif each is not False:
                options.append(self.node(_merged(flat, beside), depth + 1, inside))
        made = _any_of(options) if options else self.node(beside, depth + 1, open_)
        return _nullable(made) if null else made

    def _scalars(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The members whose value is no schema."""
        made: dict[str, Any] = {name: schema[name] for name in _TEXTS if isinstance(schema.get(name), str)}
        made |= {name: schema[name] for name in _NUMBERS if _is_number(schema.get(name))}
        for name, inclusive in _EXCLUSIVE.items():
            if _is_number(schema.get(name)):
                made.setdefault(inclusive, schema[name])
        made |= {name: schema[name] for name in _COUNTS if _is_count(schema.get(name))}
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if (
            isinstance(values, list)
            and values
            and all(isinstance(each, str) for each in values if each is not None)
        ):
            named = [each for each in values if each is not None]
            made |= {"enum": named} if named else {}
            made |= {"nullable": True} if None in values else {}
        if schema.get("nullable") is True:
            made["nullable"] = True
        return made

    def _kinds(self, schema: Mapping[str, Any]) -> list[str]:
        """The types a value may have, lower case; guessed from the other members where none is given."""
        given = schema.get("type")
        found = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        kinds = list(dict.fromkeys(each.lower() for each in found if isinstance(each, str)))
        if any(kind not in _TYPES for kind in kinds):
            raise invalid(self._param, "a schema with JSON's types")
        if kinds:
            return kinds
        if "properties" in schema:
            return ["object"]
        if "items" in schema or "prefixItems" in schema:
            return ["array"]
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        return [_kind_of(values[0])] if isinstance(values, list) and values else []

    def _inner(
        self, made: dict[str, Any], schema: Mapping[str, Any], depth: int, open_: frozenset[str]
    ) -> None:
        """Add what an object or an array holds."""
        properties = schema.get("properties")
        if made.get("type") == "OBJECT" and isinstance(properties, dict) and properties:
            made["properties"] = {
                name: self.node(each, depth + 1, open_)
                for name, each in properties.items()
                if each is not False
            }
            required = schema.get("required")
            if isinstance(required, list):
                names = [name for name in required if isinstance(name, str) and name in made["properties"]]
                made |= {"required": list(dict.fromkeys(names))} if names else {}
            made["propertyOrdering"] = list(made["properties"])
        if made.get("type") == "ARRAY":
            items, first = schema.get("items"), schema.get("prefixItems")
            if not isinstance(items, dict) and isinstance(first, list) and first:
                items = first[0] if len(first) == 1 else {"anyOf": first}
            made["items"] = self.node(items, depth + 1, open_)

    def _flat(
        self, schema: Mapping[str, Any], open_: frozenset[str], depth: int
    ) -> tuple[dict[str, Any], frozenset[str]]:
        """``schema`` with its reference and its ``allOf`` put into it."""
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise invalid(self._param, f"a schema of at most {MAX_DEPTH} levels and {MAX_NODES} nodes")
        whole = dict(schema)
        reference = whole.pop("$ref", None)
        if isinstance(reference, str):
            if reference in open_:
                raise _recursive(self._param)
            open_ |= {reference}
            target, open_ = self._flat(self._resolve(reference), open_, depth + 1)
            whole = {**target, **whole}
        parts = whole.pop("allOf", None)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                flat, open_ = self._flat(part, open_, depth + 1)
                whole = _merged(whole, flat)
        return whole, open_

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        """What a JSON Pointer (RFC 6901) within the document names."""
        found: Any = self._root
        if not reference.startswith("#"):
            raise invalid(self._param, "a schema whose $ref stay within it")
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise invalid(self._param, "a schema whose $ref name something in it")
        return found


def _recursive(param: str) -> CallerError:
    return CallerError(
        400, f"Unsupported value for '{param}': this model's provider takes no recursive schema.",
        param=param, code="unsupported_value",
    )  # fmt: skip


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"anyOf": options}


def _nullable(made: dict[str, Any]) -> dict[str, Any]:
    """The schema that takes null, too."""
    if "anyOf" in made:
        return {"anyOf": [_nullable(option) for option in made["anyOf"]]}
    return {**made, "nullable": True}


def _merged(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Two schemas that both hold, as far as members can be united; else the first one's."""
    both = {**part, **whole}
    for name in ("properties", "$defs"):
        if isinstance(part.get(name), dict) and isinstance(whole.get(name), dict):
            both[name] = {**part[name], **whole[name]}
    if isinstance(part.get("required"), list) and isinstance(whole.get("required"), list):
        both["required"] = [*whole["required"], *part["required"]]
    return both


def _kind_of(value: Any) -> str:
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        list: "array",
        dict: "object",
        type(None): "null",
    }
    return names.get(type(value), "string")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
