"""Schemathesis, somebody else's reading of our OpenAPI document, against a running gateway behind real Envoy.

It makes up requests that the document allows and requests that it forbids, in the role of every caller, and looks
whether answers are what the document says: no failure of ours, no status, media type or member that is not in it,
nothing served without a key, nothing that is there after it was deleted. Seeds are fixed: red is about the change.

Not asked of it: that every request which the document allows is accepted (``positive_data_acceptance``), since whether
a policy exists is in no schema; that a missing key is noticed before a malformed body (``missing_required_header``), as
Envoy reads the body before anybody looks at the key, and says nothing but that; and 405 for methods unknown to HTTP/1
(``unsupported_method``), which Envoy's codec answers with 400. The methods it knows are ``test_management``'s matter.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from judging import judges_python
from management_stack import KEYS, Gateway, gateway_in

from sovereign_ext.management.openapi import DOCUMENT

pytestmark = [pytest.mark.dataplane, pytest.mark.services]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_in(tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.mark.parametrize(
    ("key", "examples", "phases"),
    [
        ("admin", 4, "examples,coverage,fuzzing"),
        ("acme-admin", 1, "fuzzing"),
        ("auditor", 1, "fuzzing"),
        ("acme-auditor", 1, "fuzzing"),
        ("acme", 1, "fuzzing"),
        ("expired", 1, "fuzzing"),
    ],
)
def test_answers_are_as_described(
    gateway: Gateway, tmp_path: Path, key: str, examples: int, phases: str
) -> None:
    """Every operation, for whoever asks."""
    command = [
        *(judges_python().with_name("schemathesis"), "run", DOCUMENT),
        *("--url", f"http://127.0.0.1:{gateway.port}", "--header", f"Authorization: Bearer {KEYS[key]}"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples)),
        *("--seed", "20261123", "--suppress-health-check", "all", "--continue-on-failure", "--no-shrink"),
        *("--warnings", "off", "--report", "json", "--report-json-path", tmp_path / "report.json"),
    ]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert (tmp_path / "report.json").exists()
    operations = sum(len(verbs) for verbs in json.loads(DOCUMENT.read_text("utf-8"))["paths"].values())
    assert f"Tested: {operations}" in done.stdout
