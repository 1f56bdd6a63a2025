"""The module's pages and files, without Terraform: tables are fresh, every resource has its judge, text is whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from our_scripts import script
from terraform_world import MODULE, ROOT, SCHEMA

FILES = sorted(MODULE.rglob("*.tf"))
MODULES = sorted({path.parent for path in FILES})


def test_the_tables_are_fresh() -> None:
    """``python scripts/terraform_docs.py`` makes them so."""
    docs = script("terraform_docs")
    assert docs.page(docs.PAGE.read_text("utf-8")) == docs.PAGE.read_text("utf-8")


def test_every_resource_has_its_judge() -> None:
    """``scripts/terraform_schema.py`` was run after the last new type, and knows no other."""
    used = script("terraform_schema").used()
    for kind in ("resource", "data"):
        assert {f"aws_{name}" for name in used[kind]} == set(SCHEMA[kind])


def test_the_judge_is_of_the_version_that_is_wanted() -> None:
    """The provider whose schema is kept is the oldest that the module takes, or newer within it."""
    wanted = {re.search(r'hashicorp/aws"\s+version = "(.*?)"', path.read_text("utf-8"))[1]  # type: ignore[index]
              for path in FILES if "hashicorp/aws" in path.read_text("utf-8")}  # fmt: skip
    assert wanted == {">= 6.69, < 7.0"}
    major, minor, _ = map(int, SCHEMA["provider"].split("."))
    assert (major, minor) >= (6, 69)
    assert major < 7


@pytest.mark.parametrize("directory", MODULES, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_everything_is_described(directory: Path) -> None:
    """Each variable and output says what it is, and a variable its type; those of the outside are checked."""
    docs = script("terraform_docs")
    for kind in ("variable", "output"):
        for name, fields in docs.blocks(kind, directory).items():
            assert fields.get("description"), f"{kind} {name}"
            assert kind == "output" or fields.get("type"), name
    if directory == MODULE:
        text = "".join(path.read_text("utf-8") for path in directory.glob("variables*.tf"))
        unchecked = {
            name
            for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.M | re.S)
            if "validation" not in body
        }
        assert unchecked == {"internal", "deletion_protection", "tags"}


def test_nothing_of_a_key_is_made_by_terraform() -> None:
    """No access key, no generated password as a resource, no secret's value: they would be in the state."""
    text = "\n".join(path.read_text("utf-8") for path in FILES)
    assert (
        re.findall(
            r'"aws_iam_access_key"|resource "random_|secret_string +=|[^_]password +=|auth_token +=', text
        )
        == []
    )


def test_the_page_names_what_it_leads_through() -> None:
    """Commands of docs/deploy/aws.md use outputs and secrets that are there."""
    docs, text = script("terraform_docs"), (ROOT / "docs/deploy/aws.md").read_text("utf-8")
    examples = [MODULE / "examples/ecs", MODULE / "examples/eks"]
    outputs = {name for example in examples for name in docs.blocks("output", example)}
    assert set(re.findall(r"terraform output (?:-\w+ )*(\w+)", text)) <= outputs
    variables = {name for each in (*examples, MODULE) for name in docs.blocks("variable", each)}
    assert set(re.findall(r"-var (\w+)=", text)) <= variables
