"""What the code says that the documentation must say too, read from the source by its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from sovereign_ext import errors

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "sovereign_ext"

CLIENT_PACKAGES = ("openai", "tenants", "policy", "routing", "providers", "exchange", "extproc", "media")
"""The packages whose ``ApiError`` may become the answer of a model call; ``management`` has a shape of its own."""

ANY = "*"
"""Stands for a code that the provider chose."""

_CLASSES = {"CallerError": False, "KeyRefused": False, "ServiceError": True}  # whether a retry may help
_TYPES = {
    "CallerError": errors.INVALID_REQUEST,
    "KeyRefused": errors.INVALID_REQUEST,
    "ServiceError": errors.SERVER_ERROR,
}


class ErrorRow(NamedTuple):
    """One error as a client sees it. ``code`` is ``None`` for JSON's null."""

    status: int | None
    type: str
    code: str | None
    retry: bool


def modules(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((SOURCE / package).rglob("*.py")):
            yield path, ast.parse(path.read_text("utf-8"))


def raised_errors() -> Iterator[tuple[str, ErrorRow]]:
    """Every error that is made in ``CLIENT_PACKAGES``, with its place."""
    for path, tree in modules(*CLIENT_PACKAGES):
        for scope in _scopes(tree):
            for call in _calls(scope):
                name = _name(call.func)
                if name not in _CLASSES:
                    continue
                keywords = {keyword.arg: keyword.value for keyword in call.keywords}
                for row in product(
                    _values(call.args[0], scope),
                    _given(keywords.get("type"), scope, _TYPES[name]),
                    _values(keywords.get("code"), scope),
                    _given(keywords.get("retry"), scope, _CLASSES[name]),
                ):
                    yield f"{path.name}:{call.lineno}", ErrorRow(*row)


def attempt_outcomes() -> set[str]:
    """Every outcome that an attempt may be recorded with; ``status_…`` for those that name a status."""
    found: set[str] = set()
    for path, tree in modules("providers", "exchange", "extproc"):
        for scope in _scopes(tree):
            for call in _calls(scope):
                if _name(call.func) in ("unusable", "Fault", "unreachable", "_record") and call.args:
                    found |= {str(value) for value in _values(call.args[0], scope) if value is not ANY}
            if path.stem in ("unreachable", "deadline") and isinstance(scope, ast.FunctionDef):
                found |= set(_returned(scope))
    return found


def row_error_codes() -> set[str]:
    """The ``error_code`` literals of rows whose call ended without an answer of ours."""
    found: set[str] = set()
    for _, tree in modules("exchange", "extproc"):
        for scope in _scopes(tree):
            for call in _calls(scope):
                for keyword in call.keywords:
                    if keyword.arg == "error_code":
                        found |= {
                            str(value) for value in _values(keyword.value, scope) if value not in (ANY, None)
                        }
    return found


def tables(page: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The Markdown tables of a page: header cells and rows of cells, back quotes and escapes taken off."""
    lines = page.read_text("utf-8").splitlines()
    at = 0
    while at + 1 < len(lines):
        if lines[at].startswith("|") and re.fullmatch(r"[|\s:-]+", lines[at + 1]):
            header, rows = _cells(lines[at]), []
            at += 2
            while at < len(lines) and lines[at].startswith("|"):
                rows.append(_cells(lines[at]))
                at += 1
            yield header, rows
        else:
            at += 1


def column(page: Path, heading: str) -> list[str]:
    """The names in the first column of every table whose first heading is ``heading``, split at commas."""
    return [
        name.strip().strip("`")
        for header, rows in tables(page)
        if header[0] == heading
        for row in rows
        for name in row[0].split(",")
    ]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    """Functions, and the module for what is outside of them."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    yield ast.Module(body=outside, type_ignores=[])


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _given(node: ast.expr | None, scope: ast.AST, default: object) -> list[object]:
    return [default] if node is None else _values(node, scope)


def _values(node: ast.expr | None, scope: ast.AST) -> list[object]:
    """What an expression can be: constants, both arms of a conditional, either of a condition, what a local name was
    given."""
    if node is None:
        return [None]
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)]
    if isinstance(node, ast.IfExp):
        return _values(node.body, scope) + _values(node.orelse, scope)
    if isinstance(node, ast.BoolOp | ast.Compare):
        return [True, False]
    if isinstance(node, ast.Name):
        if node.id.isupper():
            return [getattr(errors, node.id)]
        return list(dict.fromkeys(_assigned(node.id, scope))) or [ANY]
    return [ANY]


def _assigned(name: str, scope: ast.AST) -> Iterator[object]:
    for node in ast.walk(scope):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for left, right in pairs:
                if isinstance(left, ast.Name) and left.id == name:
                    yield from _values(right, scope)


def _returned(scope: ast.FunctionDef) -> Iterator[str]:
    """String constants that the function returns, or returns first in a tuple."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
            yield from (
                str(each) for each in _values(value, scope) if isinstance(each, str) and each is not ANY
            )
