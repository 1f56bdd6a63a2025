"""Writes the tables of ``terraform/aws/README.md`` from the module's text: ``python scripts/terraform_docs.py``.

Run it after every change of a variable or an output: a test compares. It reads what ``terraform fmt`` leaves, line by
line, and no HCL beyond that: a block begins at the left margin, its fields two spaces in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).resolve().parent.parent / "terraform" / "aws"
PAGE: Final = MODULE / "README.md"
BEGIN: Final = "<!-- from the code: scripts/terraform_docs.py -->"
END: Final = "<!-- end -->"

_BLOCK: Final = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_FIELD: Final = re.compile(r"^  (\w+) *= (.*(?:\n(?:    .*|  [\]})].*))*)", re.MULTILINE)
_MEMBER: Final = re.compile(r"^ +(\w+) += (?:optional\((.*)\)|(.*?)),?$", re.MULTILINE)


def blocks(kind: str, directory: Path = MODULE) -> dict[str, dict[str, str]]:
    """Fields of every ``variable`` or ``output`` of the module, as they stand in its files."""
    found = {}
    for path in sorted(directory.glob("*.tf")):
        for what, name, body in _BLOCK.findall(path.read_text("utf-8")):
            if what == kind:
                found[name] = dict(_FIELD.findall(body))
    return found


def tables() -> str:
    """Variables, members of the object variables, outputs."""
    variables = blocks("variable")
    lines = ["## Variables", "", "| variable | meaning | type | default |", "| --- | --- | --- | --- |"]
    members = []
    for name, fields in variables.items():
        kind = fields["type"]
        if kind.startswith("object("):
            members += [
                f"| `{name}.{member}` | `{given}` | {default} |" for member, given, default in of_object(kind)
            ]
            kind = "object, below"
        shown = f"`{fields['default']}`" if "default" in fields else "required"
        lines.append(f"| `{name}` | {text(fields['description'])} | {kind} | {shown} |")
    lines += ["", "### Members", "", "| member | type | default |", "| --- | --- | --- |", *members]
    lines += ["", "## Outputs", "", "| output | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {text(fields['description'])} |" for name, fields in blocks("output").items()]
    return "\n".join(lines)


def of_object(kind: str) -> list[tuple[str, str, str]]:
    """Name, type and default of each member of an ``object(…)``, those of an object within it in its type."""
    flat = re.sub(
        r"optional\(object\(\{\n(.*?)\n *\}\), \{\}\)", r"optional(object, {})", kind, flags=re.DOTALL
    )
    rows = []
    for name, optional, required in _MEMBER.findall(flat):
        inner, _, default = optional.partition(", ")
        rows.append((name, inner or required, f"`{default or 'null'}`" if optional else "required"))
    return rows


def text(quoted: str) -> str:
    """What stands between the quotes, fit for a cell."""
    return quoted.strip().strip('"').replace('\\"', '"').replace("|", "\\|")


def page(old: str) -> str:
    """The page with the tables as they should be."""
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
