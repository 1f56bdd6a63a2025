"""A policy's ``condition``: one expression over what is known of a candidate and of the request.

The language is CEL, the Common Expression Language (https://cel.dev), by the CEL project's own implementation
(``cel-expr-python``, which wraps cel-cpp). An expression is compiled and type-checked when the configuration is
loaded. It has no clock, no IO and no functions but CEL's own, and the library bounds parsing (depth 32) and
evaluation (10,000 iterations), so it always ends. Values only; what a candidate is, is ``policy``'s matter. It
stands this low because both the configuration and the offline verifier compile conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

VARIABLES: Final[Mapping[str, str]] = {
    "tenant": "string",
    "deployment": "string",
    "provider": "string",
    "model": "string",
    "origin.provider": "list(string)",
    "origin.model": "list(string)",
    "region": "string",
    "tier": "string",
    "scopes": "list(string)",
    "drift": "string",
    "cost_usd": "double",
    "cost_nano_usd": "int",
    "p95_ms": "int",
    "request.capability": "string",
    "request.prompt_tokens": "int",
    "request.max_tokens": "int",
}
"""Every name an expression may use, with its CEL type. What is not known has no value: using it is an error."""

Value = str | int | float | list[str]

_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_UNBOUND = re.compile(r'No value with name "([^"]*)"')
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")  # around what the library says
_SHOWN_CHARS: Final = 200


class Condition:
    """A compiled expression. ``names`` are the variables it may look at, no value of another is needed."""

    __slots__ = ("_program", "names", "text")

    def __init__(self, text: str) -> None:
        """Compile ``text``. Raises ``ValueError`` with line and column within it and what is wrong there."""
        try:
            program = _environment().compile(text)
        except RuntimeError as error:
            raise ValueError(_in_words(str(error))) from None
        kind = program.return_type().name().lower()
        if kind != "bool":
            raise ValueError(f"is not true or false, but of type {kind}")
        self.text = text
        self.names = tuple(
            name for name in VARIABLES if re.search(rf"\b{name.rpartition('.')[2]}\b", text) is not None
        )
        self._program = program

    def failure(self, values: Mapping[str, Value]) -> str | None:
        """``None`` if the expression is true, otherwise ``false`` or what went wrong: an error never passes.

        ``values`` has those of ``names`` that are known.
        """
        try:
            result = self._program.eval(data=values).value()
        except RuntimeError as error:  # the iteration budget
            return "error: " + _shown(str(error))
        if result is True:
            return None
        if result is False:
            return "false"
        text = str(result)
        unbound = _UNBOUND.search(text)
        return f"error: {unbound[1]} is not known" if unbound else "error: " + _shown(text)


def recorded_values(
    names: Iterable[str], candidate: Mapping[str, Any], request: Mapping[str, Any], *, tenant: str, model: str
) -> dict[str, Value]:
    """The values of ``names`` by an entry's ``candidate`` and ``request``, as far as they were known."""
    cost = candidate.get("cost_nano_usd")
    known: dict[str, Any] = {
        "tenant": tenant,
        "model": model,
        "origin.provider": candidate.get("provider_origin"),
        "origin.model": candidate.get("model_origin"),
        "cost_usd": None if cost is None else cost / 1e9,
        "request.capability": request.get("capability"),
        "request.prompt_tokens": request.get("prompt_tokens"),
        "request.max_tokens": request.get("max_tokens"),
    }
    found = ((name, known[name] if name in known else candidate.get(name)) for name in names)
    return {name: value for name, value in found if value is not None}


@cache
def _environment() -> Any:
    """Made when the first condition is compiled: a configuration without any does not load the library."""
    from cel_expr_python import cel  # noqa: PLC0415

    types = {
        "string": cel.Type.STRING,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "list(string)": cel.Type.List(cel.Type.STRING),
    }
    return cel.NewEnv(variables={name: types[kind] for name, kind in VARIABLES.items()})


def _in_words(text: str) -> str:
    place = _PLACE.search(text)
    if place is None or int(place[1]) < 1:
        return _shown(place[3] if place else text)
    fault = place[3].partition(" expecting ")[0].replace(" (in container '')", "")
    return f"line {place[1]}, column {place[2]}: {_shown(fault)}"


def _shown(text: str) -> str:
    line = _STATUS.sub("", " ".join(text.split()))
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + "…"
