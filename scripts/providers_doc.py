"""Writes the table of docs/providers.md from what the adapters do: ``python scripts/providers_doc.py``.

``--check`` writes nothing and fails where page and code differ; the tests call that.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sovereign_ext.openai.parameters import KNOWN
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.providers.support import Treatment

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "providers.md"
BEGIN: Final = "<!-- from the code: scripts/providers_doc.py -->"
END: Final = "<!-- end -->"
SIGNS: Final[Mapping[Treatment, str]] = {
    Treatment.MAPPED: "yes",
    Treatment.APPROXIMATED: "nearly",
    Treatment.REFUSED: "**400**",
    Treatment.DROPPED: "left out",
}


def table() -> str:
    """One row for each parameter that OpenAI's clients send, one column for each kind of provider."""
    kinds = [kind for kind in ADAPTERS if kind.value != "mock"]
    lines = [
        "| parameter | " + " | ".join(f"`{kind.value}`" for kind in kinds) + " |",
        "| --- |" + " --- |" * len(kinds),
    ]
    for name in sorted(KNOWN):
        cells = [SIGNS[ADAPTERS[kind].support[name]] for kind in kinds]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rewritten(page: str) -> str:
    """The page with its table made anew. Raises ``ValueError`` where the marks are missing."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{PAGE.name} has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    made = rewritten(page)
    if "--check" in arguments:
        if made != page:
            print(f"{PAGE.name} does not say what the adapters do: run python scripts/providers_doc.py")
        return int(made != page)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
