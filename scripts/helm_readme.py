"""Writes the table of values in helm/sovereign-router/README.md from the comments in values.yaml.

A comment belongs to the key that follows it. A key with keys below it is listed only if it has a comment itself; what
is given as a flow mapping or sequence (`{...}`, `[...]`) is one value. Run it after every change of values.yaml: a test
compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).parents[1] / "helm" / "sovereign-router"
BEGIN, END = "<!-- values -->\n", "<!-- end of values -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    """A value: its path with dots, its default as YAML (``None`` for a group), what the comment says."""

    path: str
    default: str | None
    meaning: str


def rows(text: str) -> list[Row]:
    """What ``values.yaml`` says, in its order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "values are a mapping"
    return list(_below(root, "", text.splitlines()))


def _below(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Row]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        meaning = _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if meaning:
                yield Row(path, None, meaning)
            yield from _below(value, f"{path}.", lines)
        else:
            yield Row(path, _default(value, lines), meaning)


def _comment(lines: list[str], line: int) -> str:
    """The comment right above a line, in one."""
    found: list[str] = []
    while line > 0 and (text := lines[line - 1].strip()).startswith("#"):
        found.insert(0, text.lstrip("# "))
        line -= 1
    return " ".join(found)


def _default(value: yaml.Node, lines: list[str]) -> str:
    """As it stands there, a block in one line."""
    mark, end = value.start_mark, value.end_mark
    if mark.line == end.line:
        return lines[mark.line][mark.column : end.column]
    parsed = yaml.safe_load("\n".join(lines[mark.line : end.line]))
    return yaml.safe_dump(parsed, default_flow_style=True, width=1000).strip()


def table(text: str) -> str:
    """Markdown."""
    cell = "| {} | {} | {} |\n".format
    made = cell("value", "default", "meaning") + cell("---", "---", "---")
    for row in rows(text):
        default = "" if row.default is None else f"`{row.default}`"
        made += cell(f"`{row.path}`", default, row.meaning.replace("|", "\\|"))
    return made


def readme(current: str, values: str) -> str:
    """The README with a new table. Raises ``ValueError`` if the marks are gone."""
    before, rest = current.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + table(values) + "\n" + END + after


def main() -> int:
    file = CHART / "README.md"
    made = readme(file.read_text("utf-8"), (CHART / "values.yaml").read_text("utf-8"))
    file.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
