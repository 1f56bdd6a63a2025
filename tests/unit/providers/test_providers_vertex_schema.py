"""JSON Schema in the OpenAPI subset of Google's older models: the same meaning where it has words for it; bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import judging
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.providers.vertex_schema import MAX_DEPTH, MAX_NODES, openapi_schema


@pytest.fixture(scope="module")
def google() -> Iterator[judging.Judge]:
    with judging.google() as judge:
        yield judge


STRING, INTEGER = {"type": "STRING"}, {"type": "INTEGER"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unknown words go": (
        {"$schema": "x", "$id": "y", "type": "string", "not": {}, "contentEncoding": "base64", "examples": ["a"]},
        STRING,
    ),
    "texts and bounds stay": (
        {"type": "string", "title": "T", "description": "D", "pattern": "^a", "format": "date", "maxLength": 3},
        {**STRING, "title": "T", "description": "D", "pattern": "^a", "format": "date", "maxLength": 3},
    ),
    "exclusive bounds become inclusive": (
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2.5, "multipleOf": 0.5},
        {"type": "NUMBER", "minimum": 1, "maximum": 2.5},
    ),
    "an inclusive bound wins over an exclusive one": (
        {"type": "number", "minimum": 2, "exclusiveMinimum": 1},
        {"type": "NUMBER", "minimum": 2},
    ),
    "a constant is an enumeration of one": ({"const": "a"}, {**STRING, "enum": ["a"]}),
    "an enumeration with null": (
        {"type": ["string", "null"], "enum": ["a", None]},
        {**STRING, "enum": ["a"], "nullable": True},
    ),
    "an enumeration of numbers has no word": ({"enum": [1, 2]}, INTEGER),
    "null beside a type": ({"type": ["string", "null"]}, {**STRING, "nullable": True}),
    "several types": ({"type": ["string", "integer"]}, {"anyOf": [STRING, INTEGER]}),
    "several types and null, with bounds": (
        {"type": ["string", "integer", "null"], "description": "D", "maxLength": 2},
        {
            "anyOf": [
                {**STRING, "description": "D", "maxLength": 2, "nullable": True},
                {**INTEGER, "description": "D", "maxLength": 2, "nullable": True},
            ]
        },
    ),
    "a union holds what stands beside it": (
        {
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}, {"type": "null"}],
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        },
        {
            "anyOf": [
                {
                    "type": "OBJECT",
                    "properties": {"a": STRING, "b": STRING},
                    "required": [name],
                    "propertyOrdering": ["a", "b"],
                    "nullable": True,
                }
                for name in "ab"
            ]
        },
    ),
    "a union without options": ({"anyOf": [False], "type": "string"}, STRING),
    "oneOf is anyOf": ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [STRING, INTEGER]}),
    "null in a union": (
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "D"},
        {**STRING, "nullable": True, "description": "D"},
    ),
    "allOf is folded": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
            ]
        },
        {
            "type": "OBJECT",
            "properties": {"b": INTEGER, "a": STRING},
            "required": ["a", "b"],
            "propertyOrdering": ["b", "a"],
        },
    ),
    "references are replaced, with what stands beside them": (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/x~1y", "description": "here"}, "b": {"$ref": "#/$defs/x~1y"}},
            "$defs": {"x/y": {"type": "string", "description": "there"}},
        },
        {
            "type": "OBJECT",
            "properties": {"a": {**STRING, "description": "here"}, "b": {**STRING, "description": "there"}},
            "propertyOrdering": ["a", "b"],
        },
    ),
    "required names what is there, once": (
        {"type": "object", "properties": {"a": {}}, "required": ["a", "a", "b", 7]},
        {"type": "OBJECT", "properties": {"a": {}}, "required": ["a"], "propertyOrdering": ["a"]},
    ),
    "an array without items": ({"type": "array", "minItems": 1}, {"type": "ARRAY", "minItems": 1, "items": {}}),
    "a tuple": (
        {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        {"type": "ARRAY", "items": {"anyOf": [STRING, INTEGER]}},
    ),
    "an object of anything": ({"type": "object", "additionalProperties": True}, {"type": "OBJECT"}),
    "properties tell the type": (
        {"properties": {"a": True, "b": False}},
        {"type": "OBJECT", "properties": {"a": {}}, "propertyOrdering": ["a"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_conversion(google: judging.Judge, name: str):
    """What each word of JSON Schema becomes; Google's own type reads all of it."""
    schema, expected = CASES[name]
    made = openapi_schema(schema, "p")
    assert made == expected
    google.ask("schema", schema=made)
    assert all(len(each) == 1 for each in unions(made))


def unions(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema with ``anyOf``, beside which Google takes nothing."""
    if "anyOf" in schema:
        yield schema
    items = [schema["items"]] if "items" in schema else []
    for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *items):
        yield from unions(inner)


def test_google_would_object(google: judging.Judge):
    """The words of JSON Schema that the subset lacks do not pass the judge."""
    for wrong in (
        {"const": 1},
        {"oneOf": []},
        {"exclusiveMinimum": 1},
        {"type": "string", "uniqueItems": True},
    ):
        with pytest.raises(ValueError, match="Error"):
            google.ask("schema", schema=wrong)


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, "unsupported_value"),
        ({"$ref": "#"}, "unsupported_value"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}, "unsupported_value"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "unsupported_value"),
        ({"$ref": "https://schemas.example/a"}, "invalid_value"),
        ({"$ref": "#/$defs/missing"}, "invalid_value"),
        ({"$ref": "#/$defs/a", "$defs": {"a": 7}}, "invalid_value"),
        ({"type": "text"}, "invalid_value"),
        ({"type": ["string", "frobnicate"]}, "invalid_value"),
    ],
)  # fmt: skip
def test_refusals(schema: dict[str, Any], code: str):
    """Recursion cannot be said in the subset, and a reference must lead somewhere within the schema."""
    with pytest.raises(CallerError) as caught:
        openapi_schema(schema, "tools[0].function.parameters")
    assert (caught.value.status, caught.value.code, caught.value.param) == (
        400,
        code,
        "tools[0].function.parameters",
    )


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_depth():
    """As deep as the limit and no deeper."""
    assert json.dumps(openapi_schema(nested(MAX_DEPTH), "p")).count("ARRAY") == MAX_DEPTH
    with pytest.raises(CallerError):
        openapi_schema(nested(MAX_DEPTH + 1), "p")


def doubling(levels: int) -> dict[str, Any]:
    """A small schema that unfolds to two to the power of ``levels``."""
    definitions: dict[str, Any] = {"s0": {"type": "string"}}
    for level in range(1, levels + 1):
        inner = {"$ref": f"#/$defs/s{level - 1}"}
        definitions[f"s{level}"] = {"type": "object", "properties": {"a": inner, "b": inner}}
    return {"$ref": f"#/$defs/s{levels}", "$defs": definitions}


def test_unfolding_is_bounded():
    """A small schema cannot become a large one; the same reference twice in different places is no recursion."""
    assert json.dumps(openapi_schema(doubling(6), "p")).count("STRING") == 64
    with pytest.raises(CallerError):
        openapi_schema(doubling(24), "p")


KEYWORDS = (
    "type", "properties", "items", "prefixItems", "anyOf", "oneOf", "allOf", "$ref", "$defs", "enum", "const",
    "required", "nullable", "minimum", "exclusiveMaximum", "maxItems", "format", "description",
    "additionalProperties", "not",
)  # fmt: skip
REFERENCES = st.sampled_from(["#", "#/properties/a", "#/$defs/a", "#/$defs/b", "#/anyOf/0", "x"])
LEAVES = (
    st.sampled_from(["string", "object", "array", "null", "INTEGER"])
    | REFERENCES
    | st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
NAMES = st.sampled_from("ab")
SCHEMAS = st.recursive(
    st.dictionaries(st.sampled_from(KEYWORDS), LEAVES, max_size=4),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(KEYWORDS),
            inner | LEAVES | st.lists(inner | LEAVES, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(schema=SCHEMAS)
def test_hostile_schemas(google: judging.Judge, schema: dict[str, Any]):
    """Anything at all gives a schema that Google's type reads, of bounded size, or is refused by name."""
    try:
        made = openapi_schema(schema, "p")
    except CallerError as error:
        assert (error.status, error.param) == (400, "p")  # noqa: PT017
        return
    assert json.dumps(made).count("{") <= 2 * MAX_NODES
    assert all(len(each) == 1 for each in unions(made))
    google.ask("schema", schema=made)
