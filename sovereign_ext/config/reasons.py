"""Pydantic's validation errors in words for the person who wrote the file.

Says what was expected and what came. Values are shown only if they look like an id, or if YAML read a bare
word as something else than text (``no``, ``1:30``): any other text could be a secret that slipped into the
wrong field.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from sovereign_ext.config import model, trust
from sovereign_ext.config.references import shown
from sovereign_ext.config.yamltree import Path, Tree

PATTERNS: Final = {
    trust.IDENTIFIER_PATTERN: "an id: lower-case letters, digits, '.', '_', '-', at most 64 characters, "
    "beginning and ending with a letter or digit",
    model.MODEL_ID_PATTERN: "a model id: letters, digits and . _ : / @ + -, at most 200 characters",
    model.KEY_HASH_PATTERN: "'sha256:' and 64 lower-case hex digits, as `sovereign keys new` writes",
    model.ENDPOINT_PATTERN: "a base URL such as https://host/v1, without user, query or fragment",
    model.ORIGIN_PATTERN: "a name such as logs.example.org/router",
    model.ENV_PATTERN: "the name of an environment variable",
    trust.DIGEST_PATTERN: "'sha256:' and 64 lower-case hex digits",
    trust.PIN_PATTERN: "base64 of the SHA-256 of a SubjectPublicKeyInfo, 44 characters",
    trust.SPIFFE_PATTERN: "a SPIFFE id such as spiffe://example.org/service",
    trust.COUNTRY_PATTERN: "an ISO 3166-1 country code such as US",
    trust.URL_PATTERN: "a URL such as https://host/path, without user or fragment",
    trust.VERIFIER_PATTERN: "a note verifier key: name+id+key",
}
"""What a text that matches a pattern is, in words."""

_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "dict_type": "a mapping of fields",
}


_BOUNDS: Final = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs at least {min_length} in the list",
    "string_too_short": "must be at least {min_length} character long",
    "string_too_long": "must be at most {max_length} characters long",
}


def path_of(error: ErrorDetails, data: object) -> Path:
    """Where ``error`` is in the file. Steps that only name a branch of the model (a union) are left out."""
    path: list[str | int] = []
    here: Any = data
    for step in error["loc"]:
        known = isinstance(step, int) and isinstance(here, list) and step < len(here)
        if known or (isinstance(here, Mapping) and step in here):
            here = here[step]
            path.append(step)
        elif error["type"] == "missing" and step == error["loc"][-1]:
            path.append(step)
    return tuple(path)


def reason_of(error: ErrorDetails, path: Path, tree: Tree) -> str:
    """What is wrong, in one line."""
    kind, context = error["type"], error.get("ctx", {})
    value = _value_at(path, tree.data)
    if kind == "missing":
        reason = "is required"
    elif kind == "extra_forbidden":
        near = get_close_matches(str(path[-1])[:64], _fields_at(path[:-1]), n=1)
        reason = f"unknown field; did you mean {near[0]}?" if near else "unknown field"
    elif kind == "value_error":
        reason = str(context["error"])
    elif kind == "string_pattern_mismatch":
        reason = _pattern_reason(str(context["pattern"]), value)
    elif kind in {"enum", "literal_error"}:
        came = shown(value) if isinstance(value, str) else _what_came(path, tree)
        reason = f"expected {context['expected']}, got {came}"
    elif kind in _EXPECTED:
        reason = f"expected {_EXPECTED[kind]}, got {_what_came(path, tree)}"
        place = tree.places.get(path)
        if kind == "string_type" and place is not None and place.source:
            reason += f'; put it in quotes: "{place.source}"'
    elif kind in _BOUNDS:
        reason = _BOUNDS[kind].format(**context)
    else:
        reason = error["msg"]
    return reason


def _pattern_reason(pattern: str, value: object) -> str:
    reason = f"expected {PATTERNS.get(pattern, 'another form')}"
    if pattern == model.KEY_HASH_PATTERN and isinstance(value, str) and value.startswith("sk-"):
        return reason + "; this holds the key itself: revoke that key, anyone who can read the file has it"
    return reason


def _value_at(path: Path, data: object) -> object:
    here: Any = data
    for step in path:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            return None
    return here


def _what_came(path: Path, tree: Tree) -> str:
    value = _value_at(path, tree.data)
    place = tree.places.get(path)
    source = f"`{place.source}`, " if place is not None and place.source else ""
    if value is None:
        return f"{source}nothing" if source else "nothing"
    if isinstance(value, bool):
        return f"{source}which YAML reads as {'true' if value else 'false'}"
    if isinstance(value, int | float):
        return f"{source}which YAML reads as a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, Sequence) else "a mapping"


def _fields_at(path: Path) -> Sequence[str]:
    """The field names the model knows at ``path``."""
    here: Any = model.Config
    for step in path:
        if isinstance(step, int):
            continue  # a list: its item type was already taken below
        info = here.model_fields.get(step)
        found = model_in(info.annotation) if info is not None else None
        if found is None:
            return ()
        here = found
    return tuple(here.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, by itself or in a list; ``None`` for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {tuple, Union, types.UnionType, Annotated}:
        for inner in get_args(annotation):
            found = model_in(inner)
            if found is not None:
                return found
    return None
