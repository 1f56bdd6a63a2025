"""Told at once, through real Envoy: a leaked key in a call → a signed event → the receipt it names verifies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import wire
from judging import standard_webhooks
from replicas_world import Replicas
from services import PostgresDatabase, Valkey
from stack import ConfigFile, Stack, eventually
from webhook_receiver import TAKEN, Receiver, new_secret

from sovereign_ext.mock.thread import RunningMock

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "scanner"))
from makers_six import MAKERS

pytestmark = [pytest.mark.dataplane, pytest.mark.services]

SECRET = new_secret()


def leaked(seed: int) -> str:
    """A GitHub token that nobody ever had."""
    return MAKERS["github-token"](random.Random(seed)).decode()


def configured(config: ConfigFile, mock: RunningMock, *receivers: Receiver) -> None:
    """One model, one provider, and everybody told."""
    config.provider("one", "openai", mock.url)
    config.model("m", ["one"])
    config.environ["LEAKS_SECRET"] = SECRET
    config.more["findings"] = {
        "webhooks": [
            {"id": f"siem{number}", "url": each.url, "secrets": [{"env": "LEAKS_SECRET"}]}
            for number, each in enumerate(receivers)
        ]
    }


def leak(stack: Stack, seed: int) -> wire.Reply:
    """A call with a token in it; it is answered, whatever becomes of webhooks."""
    reply = stack.chat("m", messages=[{"role": "user", "content": f"why is {leaked(seed)} refused?"}])
    assert reply.status == 200, reply
    return reply


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def webhooks(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.management("/sf/v1/log").get("webhooks", [])
    return found


def test_a_leaked_key_is_told_signed_and_on_the_record(receiver: Receiver, tmp_path: Path) -> None:
    """The reference implementation verifies the event, `sovereign verify` the receipt of the entry that it names."""
    with ExitStack() as running:
        config = ConfigFile()
        configured(config, running.enter_context(RunningMock("openai")), receiver)
        stack = running.enter_context(Stack(config))
        assert stack.chat("m").status == 200  # nothing is found in this one
        reply = leak(stack, 1)
        (got,) = receiver.wait(1)
        with standard_webhooks() as judge:
            event = judge.ask("verify", secret=SECRET, headers=got.headers, body=got.body.decode())
        data = event["data"]
        row = stack.row_of(reply)
        assert event["type"] == "finding.recorded"
        assert (data["tenant"], data["key"], data["action"]) == ("t", "t-1", "redacted")
        assert data["decision_id"] == row.decision_id
        assert data["index"] == row.predicate["finding_index"]
        (found,) = data["found"]
        assert (found["kind"], found["pointer"]) == ("github-token", "/messages/0/content")
        receipt = stack.management(f"/sf/v1/{data['receipt']}")
        file = tmp_path / "receipt.json"
        file.write_text(json.dumps(receipt))
        argv = [sys.executable, "-P", "-m", "sovereign_ext.cli.main", "verify", str(file), "--json"]
        keys = stack.state_dir / "log" / "public" / "log-keys.json"
        done = subprocess.run([*argv, "--keys", str(keys)], capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
        assert (done.returncode, report["ok"], report["index"]) == (0, True, data["index"])
        (told,) = eventually(lambda: [each for each in webhooks(stack) if each.get("delivered")], "delivered")
        assert (told["id"], told["delivered"], told.get("waiting", 0)) == ("siem0", "1", 0)
        reply = wire.call(stack.port, "/sf/v1/log", key=stack.config.key, method="GET")
        assert not reply.json.get("webhooks")
        secret, token = SECRET.encode(), leaked(1).encode()
        for path in stack.root.rglob("*"):
            if path.is_file():
                text = path.read_bytes()
                assert secret not in text, path
                assert token not in text, path
        assert token not in got.body


def test_calls_do_not_wait_for_a_receiver_and_a_crash_loses_nothing() -> None:
    """The receiver holds its answer while the processor is killed: the event comes again under its id, then others."""
    hold, held = threading.Event(), threading.Event()

    def answer(number: int, _: Any) -> Any:
        if number == 0:
            held.set()
            hold.wait(60)
        return TAKEN

    with ExitStack() as running:
        receiver = running.enter_context(Receiver(answer))
        running.callback(hold.set)
        config = ConfigFile()
        configured(config, running.enter_context(RunningMock("openai")), receiver)
        stack = running.enter_context(Stack(config))
        first = leak(stack, 1)
        assert held.wait(20)
        began = time.monotonic()
        second = leak(stack, 2)
        assert time.monotonic() - began < 5  # the receiver has 15 s
        stack.processor.kill()
        hold.set()
        stack.start_processor()
        stack.wait_serving()
        third = leak(stack, 3)
        got = receiver.wait(4)
        wanted = [stack.row_of(each).predicate["finding_index"] for each in (first, second, third)]
        assert [each.index for each in got] == [wanted[0], *wanted]
        assert got[0].id == got[1].id
        assert got[0].body == got[1].body
        eventually(lambda: webhooks(stack)[0].get("delivered") == "3", "three delivered")
        stack.processor.end()
        stack.start_processor()
        leak_again = leak(stack, 4)
        index = stack.row_of(leak_again).predicate["finding_index"]
        assert [each.index for each in receiver.wait(5)][4:] == [index]


def test_a_receiver_comes_and_goes_with_the_file(receiver: Receiver) -> None:
    """Without a restart, and told of what is found from then on; a faulty one changes nothing."""
    with ExitStack() as running:
        config = ConfigFile()
        configured(config, running.enter_context(RunningMock("openai")), receiver)
        findings = config.more.pop("findings")
        stack = running.enter_context(Stack(config))
        leak(stack, 1)
        config.more["findings"] = {"webhooks": [{**findings["webhooks"][0], "secrets": [{"env": "NOT_SET"}]}]}
        config.write(stack.config_file)
        eventually(lambda: stack.management("/sf/v1/config").get("faults"), "the fault is told")
        config.more["findings"] = findings
        config.write(stack.config_file)
        eventually(lambda: webhooks(stack), "the receiver is followed")
        reply = leak(stack, 2)
        assert receiver.wait(1)[0].index == stack.row_of(reply).predicate["finding_index"]


def test_two_routers_tell_each_finding_once(
    receiver: Receiver, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """In the order of the log they share; when the one that delivers is killed, the other goes on."""
    with ExitStack() as running:
        replicas = Replicas(2, postgres, valkey)
        configured(replicas.config, running.enter_context(RunningMock("openai")), receiver)
        running.enter_context(replicas)
        for seed in range(10):
            leak(replicas.stacks[seed % 2], seed)
        before = [each.index for each in receiver.wait(10)]
        assert before == sorted(set(before))
        stacks = {stack.management("/sf/v1/log")["role"]: stack for stack in replicas.stacks}
        eventually(lambda: webhooks(stacks["FOLLOWER"])[0].get("delivered") == "10", "ten delivered")
        stacks["LEADER"].processor.kill()
        for seed in range(10, 13):
            leak(stacks["FOLLOWER"], seed)
        after = [each.index for each in receiver.wait(13)]
        assert after == sorted(set(after))
