"""The OpenAPI document and the reference page say what the contract says, no more and no less."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from management_world import World, run

from sovereign_ext.management import descriptor
from sovereign_ext.management.access import access_of
from sovereign_ext.management.openapi import DOCUMENT

ROOT = Path(__file__).resolve().parents[3]
OPENAPI = json.loads(DOCUMENT.read_text("utf-8"))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in OPENAPI["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def test_what_is_checked_in_is_fresh() -> None:
    """``make proto`` was run after the last change of a proto or a comment in one."""
    script = ROOT / "scripts" / "openapi.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_route_is_in_it_and_nothing_else() -> None:
    """A client finds each path that Envoy serves."""
    wanted = {(route.http_method.lower(), _plain(route.template)) for route in descriptor.routes()}
    assert wanted == {(verb, _plain(path)) for path, verb, _ in operations()}


def _plain(template: str) -> str:
    """Variables as ``*``, whether in the syntax of ``google.api.http`` or of OpenAPI."""
    return re.sub(r"\{[^}]*\}|\*\*", "*", re.sub(r"\{[^=}]+=([^}]+)\}", r"\1", template))


def test_it_says_who_may_call() -> None:
    """The roles that the server enforces; what is public needs no key."""
    methods = {
        method.name: access_of(method) for service in descriptor.SERVICES for method in service.methods
    }
    for _, _, operation in operations():
        access = methods[operation["operationId"].split("_")[0]]
        assert operation["x-roles"] == sorted(access.roles)
        assert (operation.get("security") == []) is access.public


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    """It can be resolved by any tool."""
    used = set(re.findall(r'"#/components/(\w+/[\w.]+)"', json.dumps(OPENAPI)))
    there = {
        f"{section}/{name}" for section in ("schemas", "responses") for name in OPENAPI["components"][section]
    }
    assert used == there


def test_every_method_message_and_field_has_words() -> None:
    """A path is described, and so is each parameter that is no plain name."""
    for path, verb, operation in operations():
        assert operation["summary"], (verb, path)


def test_the_gateway_serves_it(tmp_path: Path) -> None:
    """Without a key, byte for byte."""

    async def scenario(world: World) -> None:
        answer = await world.call("OpenApiService.GetOpenApi")
        assert answer.message.content_type == "application/json"
        assert (
            answer.message.data
            == DOCUMENT.read_bytes()
            == (ROOT / "docs/reference/openapi.json").read_bytes()
        )

    run(tmp_path, scenario)
