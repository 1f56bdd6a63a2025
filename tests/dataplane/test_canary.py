"""Unique secrets go in at every door, everything goes wrong that can, and then they are looked for everywhere.

Secrets: every provider's credential, the tenants' keys, the admin's, a key that nobody knows, and the prompt. Looked
through: every byte the clients were given, the processor's log at its most talkative, Envoy's log, its configuration
dump and statistics, everything in the state directory (database, tiles, Envoy's files), the argument lists, what the
management API shows, metrics too. The search is proven by planted ones first.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import wire
from canaries import Sighting, dresses, search
from provider_world import KINDS, Seven
from stack import eventually

from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault

pytestmark = pytest.mark.dataplane

PROMPT = f"prompt-canary-{secrets.token_hex(12)}"
STORED = f"canary-stored-{secrets.token_hex(16)}"
MESSAGES = [{"role": "user", "content": f"call me {PROMPT}"}]


@pytest.mark.parametrize("dress", dresses("s3cret-canary-0123456789"))
def test_the_search_finds(dress: str, tmp_path: Path):
    """Whatever a secret wears; and it does not see one where there is none."""
    secret = "s3cret-canary-0123456789"
    planted = tmp_path / "some.log"
    planted.write_bytes(b"line one\n" + dresses(secret)[dress] if dress != "gzip" else dresses(secret)[dress])
    files = [(planted.name, planted.read_bytes())]
    assert search(files, {"it": secret}) == [Sighting("it", "some.log")]
    assert search(files, {"other": secret[::-1]}) == []


@pytest.fixture(scope="module")
def seven() -> Iterator[Seven]:
    with Seven(processor_options=["--log-level", "debug"]) as running:
        yield running


def all_secrets(seven: Seven) -> dict[str, str]:
    """By name. The unknown key is in none of the files, so only its being echoed could show it."""
    return {
        **{f"credential {name}": text for name, text in seven.secrets.items()},
        "tenant key": seven.config.key,
        "other tenant's key": seven.config.other_key,
        "admin key": seven.config.admin_key,
        "unknown key": seven.unknown_key,
        "stored key": STORED,
        "key in the environment": seven.env_key,
        "master key": seven.master_key,
        "prompt": PROMPT,
    }


def faults(secret: str) -> list[Fault]:
    """Ways to fail, several of which throw our credential back at us."""
    echo = f"Incorrect API key provided: {secret}"
    return [
        Fault(),
        Fault(status=401, error_message=echo, error_code=secret[:60]),
        Fault(status=400, error_message=echo),
        Fault(status=404, error_message=f"no model for {secret}"),
        Fault(status=429, retry_after=1, error_message=echo, headers={"x-echo": secret}),
        Fault(status=500, html=True, error_message=echo),
        Fault(status=503, body=f"<html>{secret}</html>"),
        Fault(invalid_json=True),
        Fault(body=json.dumps({"secret": secret})),
        Fault(error_event=ErrorEvent(after=1, message=echo)),
        Fault(cut=Cut(after_bytes=10)),
        Fault(empty=True),
    ]


def test_no_secret_is_anywhere(seven: Seven):
    """After every path, crashes included, none of them is found anywhere."""
    given: list[tuple[str, bytes]] = []

    def take(name: str, reply: wire.Reply) -> None:
        head = "\n".join(f"{key}: {value}" for key, value in reply.all_headers)
        given.append((f"answer: {name}", head.encode() + b"\n\n" + without_echo(reply.body)))

    for name, reply in own_keys(seven):  # before anything cools down
        take(name, reply)
    for kind in KINDS:
        mock, model = seven.mocks[kind], seven.model(kind)
        for fault in faults(seven.secrets[kind]):
            mock.fault(fault)
            for stream in (False, True):
                take(f"{kind} {fault!r:.60}", seven.stack.chat(model, stream=stream, messages=MESSAGES))
        mock.clear()
        mock.refuse()
        take(f"{kind} refused", seven.stack.chat(model, messages=MESSAGES))
        mock.listen()
    for name, reply in misuse(seven):
        take(name, reply)
    crash_in_a_stream(seven)
    edit_badly(seven)
    take("after all", seven.stack.chat(seven.model("openai"), messages=MESSAGES))
    rows = seven.stack.rows()
    assert len(rows) >= len(KINDS) * 2 * len(faults(""))
    given += [("management " + path, body) for path, body in managed(seven, rows[-1].index)]
    sightings = search([*given, *lying_about(seven)], all_secrets(seven))
    assert sightings == []


def own_keys(seven: Seven) -> Iterator[tuple[str, wire.Reply]]:
    """A tenant with keys of its own, in the local file and in the environment, accepted and refused."""
    put = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "sovereign_ext.cli.main", "provider-keys", "set", "other", "openai"),
            *("--file", str(seven.stack.config_file), "--state-dir", str(seven.stack.state_dir)),
        ],
        input=STORED.encode(), capture_output=True, check=True, timeout=60,
        env={**os.environ, **seven.config.environ},
    )  # fmt: skip
    yield "provider-keys", wire.Reply(0, {}, put.stdout + put.stderr)
    for kind, secret in (("openai", STORED), ("vllm", seven.env_key)):
        mock = seven.mocks[kind]

        def used(kind: str = kind, secret: str = secret) -> bool:
            assert call(kind).status == 200
            return seven.mocks[kind].requests()[-1].header("authorization") == f"Bearer {secret}"

        def call(kind: str) -> wire.Reply:
            body = {"model": seven.model(kind), "messages": MESSAGES}
            return wire.call(seven.stack.port, key=seven.config.other_key, body=body)

        eventually(used, f"{kind} is called with the tenant's own key")
        mock.fault(Fault(status=401, error_message=f"Incorrect API key provided: {secret}"))
        yield f"{kind}: own key refused", call(kind)
        mock.clear()


def misuse(seven: Seven) -> Iterator[tuple[str, wire.Reply]]:
    """Calls that are refused, each with something in it that must not come back or be written down."""
    port, key = seven.stack.port, seven.config.key
    good = {"model": seven.model("openai"), "messages": MESSAGES}
    yield "unknown key", wire.call(port, key=seven.unknown_key, body=good)
    yield "admin key", wire.call(port, key=seven.config.admin_key, body=good)
    yield "unknown model", wire.call(port, key=key, body=good | {"model": "no/such"})
    yield "broken JSON", wire.call(port, key=key, body=f'{{"messages": "{PROMPT}'.encode())
    yield "prompt of a wrong type", wire.call(port, key=key, body=good | {"messages": {"content": PROMPT}})
    yield "unknown policy", wire.call(port, key=key, body=good, headers={"x-sf-policy": "nobody's"})
    yield "unknown path", wire.call(port, "/v1/nothing", key=key, body=good)
    yield "models", wire.call(port, "/v1/models", key=key, method="GET")
    yield "tenant as admin", wire.call(port, "/sf/v1/providers", key=key, method="GET")
    yield "a foreign receipt", wire.call(port, "/sf/v1/receipts/0", key=seven.config.other_key, method="GET")


def crash_in_a_stream(seven: Seven) -> None:
    """The processor dies while it holds everything in memory, and starts again."""
    mock = seven.mocks["openai"]
    mock.fault(Fault(tokens=50, pace_ms=20))
    running = seven.stack.open_chat(seven.model("openai"), messages=MESSAGES)
    seven.stack.processor.send(signal.SIGKILL)
    running.finish()
    seven.stack.processor.kill()
    mock.clear()
    seven.stack.start_processor()
    seven.stack.wait_serving()


def edit_badly(seven: Seven) -> None:
    """A file that cannot be loaded, with secrets where they do not belong, must not be quoted back."""
    good = seven.stack.config_file.read_text()
    before = len(seven.stack.processor.log.read_bytes())
    bad = good + f"\n{seven.config.admin_key}: [{seven.secrets['openai']}\n"
    seven.stack.config_file.write_text(bad)
    eventually(lambda: len(seven.stack.processor.log.read_bytes()) > before, "the bad edit is reported")
    seven.stack.config_file.write_text(good)


def managed(seven: Seven, index: int) -> Iterator[tuple[str, bytes]]:
    """What the admin is shown. A receipt opens commitments, but holds no bytes of the call."""
    for path in ("providers?page_size=50", "log", "policies", f"receipts/{index}", "metrics"):
        reply = wire.call(seven.stack.port, f"/sf/v1/{path}", key=seven.config.admin_key, method="GET")
        assert reply.status == 200, reply
        yield path, reply.body


def lying_about(seven: Seven) -> Iterator[tuple[str, bytes]]:
    """Every file of the stack but the configuration's own, Envoy's dumps, and the argument lists."""
    stack = seven.stack
    for path in sorted(stack.root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(stack.root)), path.read_bytes()
    admin = next(stack.run_dir.rglob("*admin*.sock"))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(admin)), base_url="http://envoy") as client:
        for page in (
            "config_dump?include_eds",
            "stats?format=json",
            "clusters?format=json",
            "server_info",
            "certs",
        ):
            yield f"Envoy's {page}", client.get(f"/{page}").raise_for_status().content
    for process in (stack.processor, stack.envoy):
        ours = psutil.Process(process.pid)
        for each in (ours, *ours.children(recursive=True)):
            yield f"argument list of {process.name}", "\0".join(each.cmdline()).encode()


def without_echo(body: bytes) -> bytes:
    """An answer without what the model said: it quotes the prompt, and the prompt is the client's own."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: strip(inner) for name, inner in value.items() if name not in ("message", "delta")
            } | ({"message": value["message"]} if isinstance(value.get("message"), str) else {})
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    if body[:1] == b"{":
        return json.dumps(strip(json.loads(body))).encode()
    lines = []
    for line in body.split(b"\n"):
        text = line.removeprefix(b"data: ")
        lines.append(json.dumps(strip(json.loads(text))).encode() if text[:1] == b"{" else line)
    return b"\n".join(lines)
