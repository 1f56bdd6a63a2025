"""The documentation says what the code says: errors, fields, dependencies, commands and links cannot drift."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import docs_world as docs
import pytest
from docs_world import ANY, ROOT, ErrorRow

from sovereign_ext.attest import commit, statement
from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.cli.main import COMMANDS
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.telemetry import labels
from sovereign_ext.telemetry.families.base import UNKNOWN
from sovereign_ext.telemetry.metrics import Metrics

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # envoy_data_plane's, of pydantic, while it is imported
    from sovereign_ext.envoyconf import localreply
    from sovereign_ext.envoyconf.layout import Layout

ERRORS = ROOT / "docs/reference/errors.md"
SCANNER = ROOT / "docs/scanner.md"
ATTESTATION = ROOT / "docs/reference/attestation.md"
DEPENDENCIES = ROOT / "docs/dependencies.md"
METRICS = ROOT / "docs/metrics.md"

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")],
    key=lambda page: page.as_posix(),
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

NEVER_SEEN = {"admin_key_required"}
"""Codes that no client is given: ``management.auth`` takes a tenant's key where this one would refuse it."""


# -- errors.md ---------------------------------------------------------------------------------------------------


def test_every_error_a_client_can_get_is_in_the_tables_and_no_other():
    """Status, type, code and ``x-should-retry`` of each, raised in the code or made by Envoy."""
    in_code = {row for _, row in docs.raised_errors() if row.code not in NEVER_SEEN} | _local_replies()
    assert in_code == _documented_errors()


def test_every_outcome_of_an_attempt_is_in_the_table_and_no_other():
    assert docs.attempt_outcomes() == set(docs.column(ERRORS, "outcome"))


def test_every_error_code_that_only_the_log_has_is_in_the_table_and_no_other():
    assert docs.row_error_codes() == set(docs.column(ERRORS, "error_code"))


def test_the_collector_finds_a_literal_a_name_and_a_provider_s_code():
    """What the comparison rests on: no way in which the code spells an error escapes it."""
    rows = {row for _, row in docs.raised_errors()}
    assert ErrorRow(404, "invalid_request_error", "unknown_url", False) in rows
    assert ErrorRow(401, "invalid_request_error", "revoked_api_key", False) in rows  # given through a name
    assert ErrorRow(413, "invalid_request_error", ANY, False) in rows  # whatever the provider said
    assert ErrorRow(429, "insufficient_quota", "insufficient_quota", False) in rows  # no default


def _documented_errors() -> set[ErrorRow]:
    found = set()
    for header, rows in docs.tables(ERRORS):
        if header[:3] != ["status", "type", "code"]:
            continue
        for status, kind, code, retry, _ in rows:
            code_ = {"null": None, "the provider's": ANY}.get(code, code.strip("`"))
            found.add(ErrorRow(None if status == "other" else int(status), kind, code_, json.loads(retry)))
    return found


def _local_replies() -> set[ErrorRow]:
    layout = Layout(Path(), Path(), "", "", "", "", 0, 1024)
    found = set()
    for mapper in localreply.config(layout).to_dict()["mappers"]:
        error = mapper["bodyFormatOverride"]["jsonFormat"]["error"]
        headers = {item["header"]["key"]: item["header"]["value"] for item in mapper["headersToAdd"]}
        filters = mapper["filter"].get("andFilter", {"filters": []})["filters"]
        statuses = [
            f["statusCodeFilter"]["comparison"]["value"]["defaultValue"]
            for f in filters
            if "statusCodeFilter" in f
        ]
        status = statuses[0] if statuses else None
        found.add(ErrorRow(status, error["type"], error["code"], json.loads(headers["x-should-retry"])))
    return found


# -- attestation.md ----------------------------------------------------------------------------------------------


class _Place:
    index, leaf_hash, time_ms, promise = 0, bytes(32), 0, bytes(64)


class _Ack:
    name, size, time_s = "m", 1, 1


def _facts() -> CallFacts:
    known: dict[str, Any] = {
        "str": "x", "int": 1, "bool": True, "Result": Result.ANSWERED, "bytes": b"", "Digests": Digests(),
        "tuple[str, ...]": ("x",), "tuple[AttemptFact, ...]": (AttemptFact("d", "p", "ok", 200, 0, 0),),
        "JsonObject": {"x": 1},
        "tuple[JsonObject, ...]": ({"x": 1},), "tuple[tuple[str, str, str], ...]": (("w", "s", "d"),),
    }  # fmt: skip
    types = CallFacts.__annotations__.items()
    return CallFacts(**{name: known[text.removesuffix(" | None")] for name, text in types})


def test_every_field_of_the_attestation_is_in_the_table_and_no_other():
    attestation = json.loads(Attestations("o", bytes(32)).render(_facts(), _Place(), _Ack()))
    found = set()
    for name, value in attestation.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found |= {name, *(f"{name}[].{inner}" for inner in value[0])}
        else:
            found |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    assert found == set(docs.column(ATTESTATION, "field"))


def test_the_example_has_the_fields_of_an_attestation_in_their_order():
    block = re.search(r"```json\n(.*?)```", ATTESTATION.read_text("utf-8"), re.DOTALL)
    assert block is not None
    rendered = json.loads(Attestations("o", bytes(32)).render(_facts(), _Place(), _Ack()))
    assert list(json.loads(block[1])) == list(rendered)


def test_every_field_of_the_predicate_is_in_the_table_and_no_other():
    predicate = json.loads(statement.outcome_statement(_facts(), _Ack()))["predicate"]
    assert set(predicate) == set(docs.column(ATTESTATION, "predicate field"))


def test_the_results_of_a_call_are_explained():
    row = next(row for header, rows in docs.tables(ATTESTATION) for row in rows if row[0] == "`result`")
    assert {f"`{result}`" for result in Result} == set(re.findall(r"`\w+`", row[1]))


def test_subjects_are_those_that_a_call_can_commit_to():
    assert set(docs.column(ATTESTATION, "subject")) == set(commit.ITEMS)


def test_every_kind_of_credential_is_in_the_table_and_no_other():
    rows = next(rows for header, rows in docs.tables(SCANNER) if header[0] == "family")
    wanted = [(f"`{each.family}`", f"`{each.kind}`", each.about) for each in DETECTORS]
    assert list(map(tuple, rows)) == list(dict.fromkeys(wanted))


def test_every_metric_is_in_the_table_and_no_other():
    """Name, type and labels, in the order of the registry."""
    rows = next(rows for header, rows in docs.tables(METRICS) if header[0] == "metric")
    found = [(name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows]
    wanted = Metrics(lambda _: UNKNOWN).described()
    assert found == [(each.name, each.type, each.labels) for each in wanted]


def test_labels_have_every_code_and_outcome():
    """A code that is missing would be counted as other people's."""
    codes = {row.code for _, row in docs.raised_errors()} - {ANY, None}
    assert codes | docs.row_error_codes() == labels.CODES
    assert docs.attempt_outcomes() - {"status_…"} == labels.OUTCOMES


# -- dependencies.md, commands, links -----------------------------------------------------------------------------


def test_every_dependency_has_its_reason_and_nothing_else_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for heading, wanted in (
        ("runtime package", project["dependencies"]),
        ("development package", project["optional-dependencies"]["dev"]),
        ("image package", (ROOT / "requirements/image.in").read_text("utf-8").splitlines()),
        ("judge", (ROOT / "requirements/judges.in").read_text("utf-8").splitlines()),
        ("program", (ROOT / "requirements/debian.txt").read_text("utf-8").splitlines()),
    ):
        names = {re.split(r"[\s<>=!~\[]", line)[0] for line in wanted if line.strip() and line[0] != "#"}
        listed = docs.column(DEPENDENCIES, heading)
        assert set(listed) == names, heading
        assert len(listed) == len(names)


@every_page
def test_named_make_targets_and_commands_exist(page: Path):
    """In code only: ``make x`` and ``sovereign x`` in prose may be English."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = " \n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text("utf-8"), re.DOTALL))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets
    assert set(re.findall(r"(?:^|[`/ ])sovereign ([a-z][a-z-]*)", code, re.MULTILINE)) <= {*COMMANDS}


@every_page
def test_links_lead_somewhere(page: Path):
    """Files that are there, and headings in them. The network is not asked."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def test_the_index_has_every_page():
    """But for the pages that it leads to by a list of their own, as of providers."""
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)#\s]+)\)", (docs / "index.md").read_text("utf-8")))
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} - {"index.md"}
    assert sorted(pages - linked) == []


def test_modules_on_the_request_path_exist():
    """CONTRIBUTING names files without their package where the line before named it."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8") + "".join(
        page.read_text("utf-8") for page in (ROOT / "docs/adr").glob("*.md")
    )
    there = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for path in [*docs.SOURCE.rglob("*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("scripts/*.py")]
    ]
    for name in set(re.findall(r"(?<![\w/…])[a-z0-9_/]+\.py\b", text)):
        assert any(path.endswith(f"/{name}") for path in there), name


def _anchors(page: Path) -> set[str]:
    """Ids of the headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
