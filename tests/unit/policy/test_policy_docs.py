"""docs/reference/policy.md says what the code does: rules, variables, figures."""

from __future__ import annotations

import re
from pathlib import Path

from sovereign_ext.condition import VARIABLES
from sovereign_ext.config.model import Policy
from sovereign_ext.openai.tokens import BYTES_PER_TOKEN, IMAGE_TOKENS, MESSAGE_TOKENS
from sovereign_ext.policy.cost import UNBOUNDED_TOKENS
from sovereign_ext.policy.registry import RULES

PAGE = (Path(__file__).parents[3] / "docs/reference/policy.md").read_text("utf-8")


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    block = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0]
    lines = [line for line in block.splitlines()[1:] if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_rule_is_described_in_its_order() -> None:
    """With a field of the policy that exists."""
    rows = table("rule")
    assert [row[0].strip("` ") for row in rows] == [rule.name for rule in RULES]
    fields = [name for row in rows for name in re.findall(r"`(\w+)`", row[1])]
    assert len(fields) == len(RULES) - 1
    assert set(fields) <= set(Policy.model_fields)


def test_every_variable_is_described_with_its_type() -> None:
    assert {row[0].strip("` "): row[1] for row in table("variable")} == VARIABLES


def test_the_figures_are_those_of_the_code() -> None:
    assert f"one for every {BYTES_PER_TOKEN} bytes of UTF-8" in PAGE
    assert f"| {IMAGE_TOKENS}, whatever its size" in PAGE
    assert f"| {MESSAGE_TOKENS} more |" in PAGE
    assert f"{UNBOUNDED_TOKENS} times `n`" in PAGE
