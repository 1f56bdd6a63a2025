"""Configuration by management API on real Envoy: in use without a restart, refused as a whole, beside the file.

Also what Envoy's transcoder does with names that hold slashes and colons, and the commands ``apply`` and ``export``.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import wire
import yaml
from canaries import search
from replicas_world import Replicas
from services import PostgresDatabase, Valkey
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

MASTER_KEY = secrets.token_hex(32)
WITHIN_S = 1.0


@pytest.fixture
def world() -> Iterator[Gateway]:
    """``one`` is the file's, ``two`` is there to be added. A master key is configured."""
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "two")}
        config = ConfigFile()
        config.provider("one", "openai", mocks["one"].url)
        config.policy("default")
        config.model("chat", ["one"])
        config.keystore = {"local": {"master_key": {"env": "SF_TEST_MASTER_KEY"}}}
        config.environ["SF_TEST_MASTER_KEY"] = MASTER_KEY
        yield Gateway(running.enter_context(Stack(config)), mocks)


def api(stack: Stack, method: str, path: str, body: Any = None, key: str | None = None) -> wire.Reply:
    return wire.call(
        stack.port, f"/sf/v1/{path}", method=method, key=key or stack.config.admin_key, body=body
    )


def ok(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    reply = api(stack, method, path, body)
    assert reply.status == 200, (method, path, reply.body)
    return reply.json


def in_use(stack: Stack, within_s: float = 15.0) -> dict[str, Any]:
    """Wait until what is committed is in use."""

    def settled() -> Any:
        config = stack.management("/sf/v1/config")
        return config if config["revision"] == config["committed_revision"] else None

    return eventually(settled, "everything in use", within_s)  # type: ignore[no-any-return]


def add_two(stack: Stack, url: str, model: str = "org/new:8b") -> None:
    """A provider, a model whose id has slashes and a colon, a deployment and a policy."""
    ok(stack, "POST", "providers?provider_id=two", {"kind": "openai", "endpoint": f"{url}/v1"})
    ok(stack, "POST", f"models?model_id={model}", {"context_window": 8192})
    deployment = {"model": model, "upstream_model": "up"}
    ok(stack, "POST", "providers/two/deployments?deployment_id=new.two", deployment)
    ok(stack, "POST", "policies?policy_id=only-two", {"providers": ["two"], "fallback": {"enabled": False}})


def test_what_the_api_makes_serves_a_call(world: Gateway) -> None:
    """No process restarts; the tenant's default policy reaches it; deleted, it is gone again."""
    stack = world.stack
    pids = stack.processor.pid, stack.envoy.pid
    assert stack.chat("org/new:8b").status == 404
    add_two(stack, world.mocks["two"].url)
    in_use(stack)
    reply = stack.chat("org/new:8b")
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "two")
    assert "org/new:8b" in [model["id"] for model in stack.models().json["data"]]
    assert ok(stack, "GET", "models/org/new:8b")["context_window"] == "8192"
    changed = ok(stack, "PATCH", "models/org/new:8b?update_mask=owned_by", {"owned_by": "us"})
    assert (changed["owned_by"], changed["context_window"]) == ("us", "8192")
    assert api(stack, "DELETE", "providers/two").status == 400
    names = ("policies/only-two", "providers/two/deployments/new.two", "models/org/new:8b", "providers/two")
    for name in names:
        ok(stack, "DELETE", name)
    in_use(stack)
    assert stack.chat("org/new:8b").status == 404
    assert (stack.processor.pid, stack.envoy.pid) == pids
    stack.fsck()


def test_it_is_there_after_a_restart(world: Gateway) -> None:
    """File and database are read together; a tenant of the file may name a policy of the database."""
    stack = world.stack
    add_two(stack, world.mocks["two"].url)
    in_use(stack)
    document = stack.config.document()
    document["tenants"][0]["policies"].append("only-two")
    stack.config_file.write_text(yaml.safe_dump(document))
    wanted = {"x-sf-policy": "only-two"}
    eventually(lambda: stack.chat("org/new:8b", headers=wanted).status == 200, "the tenant's new policy")
    stack.processor.end()
    stack.start_processor()
    stack.wait_serving()
    reply = stack.chat("org/new:8b", headers=wanted)
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "two")


def test_what_would_be_wrong_is_refused_and_changes_nothing(world: Gateway) -> None:
    """400 with the fault and its field; revision and version stay."""
    stack = world.stack
    before = stack.management("/sf/v1/config")
    reply = api(stack, "POST", "policies?policy_id=bad", {"required_scopes": ["fda"]})
    assert reply.status == 400
    assert "policy.required_scopes[0]: no witness may vouch for 'fda'" in reply.json["message"]
    for path, body in (
        ("policies?policy_id=bad", {"providers": ["nobody"]}),
        ("policies?policy_id=default", {}),
        ("providers?provider_id=x", {"kind": "openai", "endpoint": "ftp://x"}),
        ("models?model_id=bad%20id", {}),
        ("statements", {"envelope": "{}"}),
        ("witnesses?witness_id=w", {"key_file": "/etc/hostname", "scopes": ["fda"]}),
    ):
        reply = api(stack, "POST", path, body)
        assert reply.status in (400, 409), (path, reply)
    assert stack.management("/sf/v1/config") == before


def test_the_file_cannot_take_what_the_database_has(world: Gateway) -> None:
    """Such an edit is a fault until one of the two is gone; then it is taken up by itself."""
    stack = world.stack
    ok(stack, "POST", "models?model_id=extra", {"owned_by": "api"})
    in_use(stack)
    stack.config.model("extra", ["one"])
    stack.config.write(stack.config_file)
    (fault,) = eventually(lambda: stack.management("/sf/v1/config")["faults"], "the fault to show")
    assert "models/extra is in the database, too" in fault["reason"]
    assert fault["line"] > 0
    ok(stack, "POST", "models?model_id=other", {})
    assert in_use(stack)["faults"], "a change by API does not hide the file's fault"
    ok(stack, "DELETE", "models/extra")
    eventually(lambda: not stack.management("/sf/v1/config")["faults"], "the edit to be taken up")
    assert stack.chat("extra").status == 200
    assert ok(stack, "GET", "models/extra")["declared"] is True
    assert api(stack, "DELETE", "models/extra").status == 409


def test_an_edit_of_the_file_that_breaks_a_resource_is_a_fault(world: Gateway) -> None:
    """The resource is named; calls go on."""
    stack = world.stack
    ok(stack, "POST", "policies?policy_id=needs-one", {"providers": ["one"]})
    in_use(stack)
    document = stack.config.document()
    document["providers"][0]["id"] = document["deployments"][0]["provider"] = "renamed"
    stack.config_file.write_text(yaml.safe_dump(document))
    (fault,) = eventually(lambda: stack.management("/sf/v1/config")["faults"], "the fault to show")
    assert (fault["resource"], fault["field"]) == ("policies/needs-one", "providers[0]")
    assert stack.chat("chat").status == 200


def test_a_provider_key_is_used_and_is_nowhere(world: Gateway) -> None:
    """Set, replaced and deleted without a restart; looked for in every file, dump, answer and argument list."""
    stack, two = world.stack, world.mocks["two"]
    add_two(stack, two.url)
    in_use(stack)
    canaries = {name: f"canary-{name}-{secrets.token_hex(16)}" for name in ("shared", "own", "new")}
    given: list[tuple[str, bytes]] = []

    def put(path: str, name: str) -> dict[str, Any]:
        reply = api(stack, "POST", f"{path}providerKeys/two:set", {"secret": canaries[name]})
        given.append((f"answer {path}", reply.body))
        assert reply.status == 200, reply.body
        return reply.json  # type: ignore[no-any-return]

    def used(name: str | None) -> None:
        header = None if name is None else f"Bearer {canaries[name]}"

        def seen() -> bool:
            assert stack.chat("org/new:8b").status == 200
            return two.requests()[-1].header("authorization") == header

        begun = time.monotonic()
        eventually(seen, f"calls with {name}")
        assert time.monotonic() - begun < WITHIN_S + 1.0

    used(None)
    put("", "shared")
    used("shared")
    first = put("tenants/t/", "own")
    used("own")
    second = put("tenants/t/", "new")
    used("new")
    assert (first["version"], second["version"]) == (1, 2)
    two.fault(Fault(status=401, error_message=f"Incorrect API key provided: {canaries['new']}"))
    reply = stack.chat("org/new:8b")
    given.append(("refused", reply.body))
    two.clear()
    given.append(("shown", api(stack, "GET", "tenants/t/providerKeys").body))
    given.append(("provider", api(stack, "GET", "providers/two").body))
    given.append(("bad", api(stack, "POST", "providerKeys/two:set", {"secret": canaries["new"] + "\n"}).body))
    given.append(("worse", api(stack, "POST", "providerKeys/two:set", {"secrets": canaries["new"]}).body))
    stack.processor.end()
    stack.start_processor()
    stack.wait_serving()
    used("new")
    ok(stack, "DELETE", "tenants/t/providerKeys/two")
    used("shared")
    for path in sorted(stack.root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            given.append((str(path.relative_to(stack.root)), path.read_bytes()))
    for process in (stack.processor, stack.envoy):
        given.append((process.name, "\0".join(psutil.Process(process.pid).cmdline()).encode()))
    assert search(given, {**canaries, "master": MASTER_KEY}) == []


def test_without_a_master_key_a_provider_key_is_refused() -> None:
    """Clearly, before anything is written."""
    config = ConfigFile()
    config.provider("one", "openai", "http://127.0.0.1:9")
    config.model("chat", ["one"])
    with Stack(config) as stack:
        reply = api(stack, "POST", "providerKeys/one:set", {"secret": "sk-x"})
        assert reply.status == 400
        assert "keystore.local.master_key" in reply.json["message"]


def sovereign(stack: Stack, *argv: str, stdin: str | None = None, key: str | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-P", "-m", "sovereign_ext.cli.main", *argv],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={
            **os.environ,
            "SF_BASE_URL": f"http://127.0.0.1:{stack.port}/v1",
            "SF_ADMIN_KEY": key or stack.config.admin_key,
        },
    )  # fmt: skip


def test_apply_and_export(world: Gateway, tmp_path: Path) -> None:
    """Dry-run says what would change and changes nothing; twice is once; what is exported applies as nothing."""
    stack = world.stack
    document = {
        "version": 1,
        "providers": [{"id": "two", "kind": "openai", "endpoint": world.mocks["two"].url + "/v1"}],
        "models": [{"id": "org/new:8b", "context_window": 8192}],
        "deployments": [
            {
                "id": "new.two",
                "model": "org/new:8b",
                "provider": "two",
                "upstream_model": "up",
                "price": {"input_per_mtok": 0.15},
            }
        ],
        "policies": [{"id": "b-first", "shadows": ["c"]}, {"id": "c", "providers": ["two", ["one"]]}],
        "tenants": [{"id": "initech", "policies": ["c"], "default_policy": "c", "margin_percent": 2.5}],
    }
    file = tmp_path / "wanted.yaml"
    file.write_text(yaml.safe_dump(document))
    before = stack.management("/sf/v1/config")
    dry = sovereign(stack, "apply", "-f", str(file), "--dry-run")
    assert dry.returncode == 4, dry.stderr
    assert "+ providers/two" in dry.stdout
    assert stack.management("/sf/v1/config") == before
    done = sovereign(stack, "apply", "-f", str(file))
    assert done.returncode == 0, done.stderr
    in_use(stack)
    assert stack.chat("org/new:8b").headers["x-sf-provider"] == "two"
    size = stack.management("/sf/v1/log")["size"]
    revision = stack.management("/sf/v1/config")["committed_revision"]
    again = sovereign(stack, "apply", "-f", str(file))
    assert (again.returncode, again.stdout) == (0, "nothing to change\n"), again
    assert sovereign(stack, "apply", "-f", str(file), "--dry-run").returncode == 0
    for scope in ((), ("--all",)):
        exported = sovereign(stack, "export", *scope)
        assert exported.returncode == 0, exported.stderr
        same = sovereign(stack, "apply", "-f", "-", "--prune", stdin=exported.stdout)
        assert (same.returncode, same.stdout) == (0, "nothing to change\n"), (same, exported.stdout)
    assert stack.management("/sf/v1/config")["committed_revision"] == revision
    rows = stack.management("/sf/v1/log")["size"]
    assert int(rows) - int(size) <= 1, "the call of this test is all that was written down"
    document["policies"][1]["latency_cap_ms"] = 900
    file.write_text(yaml.safe_dump(document))
    dry = sovereign(stack, "apply", "-f", str(file), "--dry-run")
    assert "    latency_cap_ms: (not given) -> 900" in dry.stdout
    document = {"version": 1, "policies": [], "tenants": [], "deployments": [], "models": [], "providers": []}
    pruned = sovereign(stack, "apply", "-f", "-", "--prune", stdin=json.dumps(document))
    assert pruned.returncode == 0, pruned.stderr
    in_use(stack)
    assert stack.chat("org/new:8b").status == 404
    assert stack.chat("chat").status == 200


def test_apply_stops_at_the_first_refusal(world: Gateway) -> None:
    """And says what was done; what the gateway's own file declares is not changed."""
    stack = world.stack
    document = {"models": [{"id": "m"}], "policies": [{"id": "p", "providers": ["nobody"]}, {"id": "q"}]}
    done = sovereign(stack, "apply", "-f", "-", stdin=json.dumps(document))
    assert done.returncode == 1
    assert done.stdout == "created models/m\n"
    assert "create policies/p" in done.stderr
    assert "there is no provider 'nobody'" in done.stderr
    assert "1 of 3 steps" in done.stderr
    refused = sovereign(stack, "apply", "-f", "-", stdin='{"models": [{"id": "chat", "owned_by": "me"}]}')
    assert refused.returncode == 1
    assert "models/chat is declared in the gateway's own file, which differs in: owned_by" in refused.stderr
    for result in (done, refused):
        assert stack.config.admin_key not in result.stdout + result.stderr


@pytest.mark.services
def test_replicas_follow_within_a_second(postgres: PostgresDatabase, valkey: Valkey) -> None:
    """Two routers on one PostgreSQL: what one is told, the other does; changes at both ends do not spoil each other."""
    with RunningMock("openai") as one, RunningMock("openai") as two, ExitStack() as running:
        replicas = Replicas(2, postgres, valkey)
        replicas.config.provider("one", "openai", one.url)
        replicas.config.policy("default")
        replicas.config.model("chat", ["one"])
        replicas.config.keystore = {"local": {"master_key": {"env": "SF_TEST_MASTER_KEY"}}}
        replicas.config.environ["SF_TEST_MASTER_KEY"] = MASTER_KEY
        running.enter_context(replicas)
        here, there = replicas.stacks
        add_two(here, two.url)
        begun = time.monotonic()
        eventually(lambda: there.chat("org/new:8b").status == 200, "the other router serves it")
        assert time.monotonic() - begun < WITHIN_S
        ok(there, "POST", "providerKeys/two:set", {"secret": "sk-spread"})
        begun = time.monotonic()

        def spread() -> bool:
            assert here.chat("org/new:8b").status == 200
            return two.requests()[-1].header("authorization") == "Bearer sk-spread"

        eventually(spread, "the key at the other router")
        assert time.monotonic() - begun < WITHIN_S
        for turn in range(5):
            ok(here, "POST", f"policies?policy_id=here-{turn}", {})
            ok(there, "POST", f"policies?policy_id=there-{turn}", {"shadows": [f"here-{turn}"]})
        states = [in_use(stack) for stack in (here, there)]
        assert states[0]["revision"] == states[1]["revision"]
        assert states[0]["digest"] == states[1]["digest"]
