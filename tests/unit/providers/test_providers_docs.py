"""docs/providers.md says what the adapters do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_is_that_of_the_code():
    """The script that writes the table has nothing to change."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "providers_doc.py"), "--check"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_translated_kind_has_a_page():
    """What is approximated is told there."""
    for kind in ("anthropic", "bedrock", "vertex"):
        page = ROOT / "docs" / "providers" / f"{kind}.md"
        assert f"kind: {kind}" in page.read_text(encoding="utf-8")
