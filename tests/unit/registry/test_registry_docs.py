"""docs/reference/statements.md: its examples are statements, its commands run, its reasons are the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from registry_world import PIN

from sovereign_ext.cli.main import main
from sovereign_ext.registry import tiers
from sovereign_ext.registry.manifest import PREDICATE_TYPE, parse_manifest
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    WitnessStatement,
    parse_statement,
)

PAGE = (Path(__file__).parents[3] / "docs/reference/statements.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_there_is_one_good_example_of_each_document() -> None:
    """Readers copy them."""
    statements = [parse_statement(text.encode()) for text in EXAMPLES if PREDICATE_TYPE not in text]
    assert [type(each) for each in statements] == [
        WitnessStatement,
        ProviderStatement,
        DriftReport,
        Revocation,
    ]
    (manifest,) = [parse_manifest(text.encode()) for text in EXAMPLES if PREDICATE_TYPE in text]
    assert [resource.name for resource in manifest.resources] == ["a", "sub/b", "sub.x"]


def test_the_commands_run_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, in an empty directory with a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_bytes(b"weights")
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for line in block.splitlines() if line]
    assert len(lines) == 13
    digest = ""
    for printed in lines:
        line = printed.replace("$DIGEST", digest).replace("$PIN", PIN)
        program, *words = shlex.split(line, comments=True)
        assert program == "sovereign"
        assert main(words) == 0, line
        out = capsys.readouterr().out
        if words[:2] == ["model", "digest"]:
            digest = out.strip()
    assert digest.startswith("sha256:")


def test_every_reason_is_explained_and_no_other() -> None:
    """In the order in which they are given."""
    table = PAGE.split("| tier | reason why it was not reached | meaning |", 1)[1].split("\n\n", 1)[0]
    explained = re.findall(r"^\|[^|]*\| `(\w+)` \|", table, re.MULTILINE)
    codes = [value for name, value in vars(tiers).items() if name.isupper() and not name.startswith("_")]
    assert explained == codes
