"""Provider keys of tenants, on real Envoy: each call with its own, rotated while running, walked on without."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import wire
from stack import ConfigFile, Gateway, Stack, chat_body, eventually

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

MASTER = {"TEST_MASTER": base64.b64encode(os.urandom(32)).decode()}
LOCAL = {"local": {"master_key": {"env": "TEST_MASTER"}}}


def provider_keys(stack: Stack, *words: str, secret: str = "") -> None:
    """`sovereign provider-keys`, as an operator calls it beside the running gateway."""
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "sovereign_ext.cli.main", "provider-keys", *words),
            *("--file", str(stack.config_file), "--state-dir", str(stack.state_dir)),
        ],
        input=secret, text=True, capture_output=True, check=False, timeout=60, env={**os.environ, **MASTER},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def call(stack: Stack, key: str) -> wire.Reply:
    return wire.call(stack.port, key=key, body=chat_body("chat", False, None, {}))


def keys_seen(mock: RunningMock) -> list[str]:
    return [(request.header("authorization") or "").removeprefix("Bearer ") for request in mock.requests()]


def two_providers(running: ExitStack, keystore: dict[str, Any], **options: Any) -> Gateway:
    """``one``, then ``two``; both declare a key of the operator's."""
    config = ConfigFile(keystore=keystore)
    mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "two")}
    for name, mock in mocks.items():
        config.provider(name, "openai", mock.url)
    config.policy("chain", ["one", "two"])
    config.model("chat", mocks)
    return Gateway(running.enter_context(Stack(config, environ=MASTER, **options)), mocks)


@pytest.fixture
def keyed() -> Iterator[Gateway]:
    """A local key file, empty at first."""
    with ExitStack() as running:
        yield two_providers(running, LOCAL)


def test_each_tenant_with_its_own_key_and_rotation_without_restart(keyed: Gateway) -> None:
    """Declared first, then the tenants' own, put in, rotated and removed by the command beside the running gateway."""
    stack, one = keyed.stack, keyed.mocks["one"]
    pids = stack.processor.pid, stack.envoy.pid
    declared = stack.config.environ["SF_TEST_KEY_ONE"]
    assert {call(stack, key).status for key in (stack.config.key, stack.config.other_key)} == {200}
    assert keys_seen(one) == [declared, declared]

    provider_keys(stack, "set", "t", "one", secret="sk-of-t")
    provider_keys(stack, "set", "other", "one", secret="sk-of-other")

    def uses(key: str, wanted: str) -> bool:
        one.clear()
        assert call(stack, key).status == 200
        return keys_seen(one) == [wanted]

    eventually(lambda: uses(stack.config.key, "sk-of-t"), "t's own key", 5.0)
    eventually(lambda: uses(stack.config.other_key, "sk-of-other"), "other's own key", 5.0)

    provider_keys(stack, "rotate", "t", "one", secret="sk-of-t-rotated")
    eventually(lambda: uses(stack.config.key, "sk-of-t-rotated"), "the rotated key", 5.0)
    assert uses(stack.config.other_key, "sk-of-other")

    provider_keys(stack, "rm", "t", "one")
    eventually(lambda: uses(stack.config.key, declared), "the declared key again", 5.0)
    assert (stack.processor.pid, stack.envoy.pid) == pids
    shown = stack.logs(10_000) + "".join(
        path.read_text(errors="replace") for path in stack.state_dir.rglob("*.json")
    )
    assert "sk-of-" not in shown


def test_a_wrong_key_of_one_tenant_is_no_other_s_matter(keyed: Gateway) -> None:
    """The provider refuses t's key many times: t is served by the next one, and other still by the first."""
    stack, one = keyed.stack, keyed.mocks["one"]
    provider_keys(stack, "set", "t", "one", secret="sk-wrong")
    eventually(
        lambda: call(stack, stack.config.key).status == 200 and keys_seen(one)[-1] == "sk-wrong",
        "t's key",
        5.0,
    )
    one.fault(Fault(status=401), times=6)
    for _ in range(6):
        reply = call(stack, stack.config.key)
        assert (reply.status, stack.row_of(reply).outcomes) == (200, ["status_401", "ok"])
    reply = call(stack, stack.config.other_key)
    assert (reply.headers["x-sf-provider"], stack.row_of(reply).outcomes) == ("one", ["ok"])


def test_a_link_that_cannot_be_asked_sends_the_call_to_the_next_provider() -> None:
    """Vault is down, so nobody knows whether t has a key of its own for ``one``: the declared one is not used."""
    with ExitStack() as running:
        nobody = running.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: refused
        vault = {
            "kind": "vault-kv",
            "endpoint": f"http://127.0.0.1:{nobody.getsockname()[1]}",
            "token_env": "TEST_MASTER",
        }
        gateway = two_providers(running, {**LOCAL, "kms": [vault]})
        stack = gateway.stack
        reply = call(stack, stack.config.key)
        assert (reply.status, reply.error["code"]) == (503, "credential_unavailable")
        assert stack.row_of(reply).outcomes == ["credential_unreachable", "credential_unreachable"]
        provider_keys(stack, "set", "t", "two", secret="sk-of-t")

        def answered() -> wire.Reply | None:
            found = call(stack, stack.config.key)
            return found if found.status == 200 else None

        reply = eventually(answered, "an answer by two", 8.0)
        assert reply.headers["x-sf-provider"] == "two"
        row = stack.row_of(reply)
        assert row.outcomes == ["credential_unreachable", "ok"]
        assert [attempt["status"] for attempt in row.predicate["attempts"]] == [0, 200]
        assert gateway.mocks["one"].requests() == []
        assert set(keys_seen(gateway.mocks["two"])) == {"sk-of-t"}
        stack.monitor()


def test_a_link_that_does_not_answer_costs_a_bounded_time() -> None:
    """Its limit for each provider, all callers at once; a client that leaves meanwhile leaves nothing behind."""
    with ExitStack() as running:
        silent = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        vault = {
            "kind": "vault-kv",
            "endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "token_env": "TEST_MASTER",
        }
        gateway = two_providers(running, {"kms": [vault], "fetch_limit_ms": 1000, "negative_ttl_s": 1})
        stack = gateway.stack
        with pytest.raises(TimeoutError):
            stack.chat("chat", timeout_s=0.2)
        row = eventually(stack.rows, "the entry of the call that was left")[0]
        assert row.predicate["error_code"] == "client_disconnected"
        begun = time.monotonic()
        reply = call(stack, stack.config.other_key)
        assert time.monotonic() - begun < 2 * 1.0 + 1.9
        assert (reply.status, stack.row_of(reply).outcomes) == (503, ["credential_timeout"] * 2)
        assert not any(mock.requests() for mock in gateway.mocks.values())
        assert not [line for line in stack.logs(10_000).splitlines() if "Traceback" in line]
