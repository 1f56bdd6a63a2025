"""The life of a key on real Envoy: made, used, rotated with overlap, expired and revoked while calls go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import wire
from stack import HELLO, ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, mint

pytestmark = pytest.mark.dataplane

MODEL = "m"
REVOKED_WITHIN_S = 1.0


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config = ConfigFile()
        config.policy("default")
        config.policy("other")
        config.provider("one", "openai", mock.url)
        config.model(MODEL, ["one"])
        yield Gateway(running.enter_context(Stack(config)), {"one": mock})


def ask(stack: Stack, method: str, path: str, body: Any = None, key: str = "") -> wire.Reply:
    """One call of the management API."""
    return wire.call(
        stack.port, f"/sf/v1/{path}", key=key or stack.config.admin_key, body=body, method=method
    )


def done(stack: Stack, method: str, path: str, body: Any = None, key: str = "") -> Any:
    reply = ask(stack, method, path, body, key)
    assert reply.status == 200, reply.body
    return reply.json


def new_tenant(stack: Stack, name: str, **fields: Any) -> str:
    """A tenant with a key; gives the key."""
    document = {"policies": ["default", "other"], "default_policy": "default", **fields}
    done(stack, "POST", f"tenants?tenant_id={name}", document)
    return str(done(stack, "POST", f"tenants/{name}/keys?key_id=ci", {})["secret"])


def status(stack: Stack, key: str, **headers: str) -> tuple[int, str]:
    """Status and error code of a call of a model."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = wire.call(stack.port, key=key, body={"model": MODEL, "messages": HELLO}, headers=sent)
    return reply.status, reply.error["code"] if reply.status != 200 else ""


@dataclass
class Traffic:
    """Clients that call all the time with whatever key is given them; what they got, and when."""

    stack: Stack
    keys: list[str]
    seen: list[tuple[float, str, int, str]] = field(default_factory=list)  # began, key, status, code
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._threads = [threading.Thread(target=self._client) for _ in range(3)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def count(self, key: str) -> int:
        return sum(used == key for _, used, _, _ in list(self.seen))

    def of(self, key: str, after: float = 0.0, before: float = float("inf")) -> Counter[tuple[int, str]]:
        """How calls with ``key`` ended that began between two times."""
        return Counter(
            (code, error) for began, used, code, error in self.seen if used == key and after < began < before
        )

    def _client(self) -> None:
        while not self._ended.is_set():
            for key in list(self.keys):
                began = time.monotonic()
                self.seen.append((began, key, *status(self.stack, key)))


def test_a_key_lives_and_dies_under_traffic(gateway: Gateway) -> None:
    """Not one call fails while its key is good, and none gets through a second after it was revoked."""
    stack = gateway.stack
    first = new_tenant(stack, "life")
    with Traffic(stack, [first]) as traffic:
        eventually(lambda: traffic.count(first) > 5, "calls with the first key")
        rotated = done(stack, "POST", "tenants/life/keys/ci:rotate", {"overlap_s": "3"})
        ends = time.monotonic() + 3
        second = rotated["secret"]
        traffic.keys.append(second)  # both at once: the overlap
        eventually(lambda: traffic.of(first)[401, "expired_api_key"], "the first key expires")
        traffic.keys.remove(first)
        eventually(lambda: traffic.count(second) > 10, "calls with the second key")
        done(stack, "POST", f"{rotated['name']}:revoke", {})
        revoked = time.monotonic()
        eventually(lambda: time.monotonic() > revoked + 1.5 and traffic.of(second, revoked), "more calls")
    assert set(traffic.of(first, before=ends - 1.5)) == {(200, "")}
    assert set(traffic.of(first, after=ends + 0.1)) <= {(401, "expired_api_key")}
    assert set(traffic.of(second, before=revoked - 0.5)) == {(200, "")}
    late = traffic.of(second, after=revoked + REVOKED_WITHIN_S)
    assert set(late) == {(401, "revoked_api_key")}, late
    tenants = {(row.tenant, row.predicate["key"]) for row in stack.rows("tenant = 'life'")}
    assert tenants == {("life", "ci"), ("life", rotated["name"].rsplit("/", 1)[1])}


def test_a_new_key_opens_at_once_and_a_revoked_one_not_a_call_later(gateway: Gateway) -> None:
    """In the router that was asked the answer comes when it goes by the change."""
    stack = gateway.stack
    new_tenant(stack, "at-once")
    for number in range(10):
        made = done(stack, "POST", f"tenants/at-once/keys?key_id=k{number}", {})
        assert status(stack, made["secret"]) == (200, "")
        done(stack, "POST", f"{made['name']}:revoke", {})
        assert status(stack, made["secret"]) == (401, "revoked_api_key")


def test_a_key_goes_no_further_than_its_policies(gateway: Gateway) -> None:
    """And the default is one that it has."""
    stack = gateway.stack
    new_tenant(stack, "narrow")
    body = {"policies": ["other"]}
    key = done(stack, "POST", "tenants/narrow/keys?key_id=some", body)["secret"]
    assert status(stack, key, x_sf_policy="default") == (403, "policy_not_allowed")
    assert status(stack, key) == (200, "")
    assert stack.rows("tenant = 'narrow'")[-1].predicate["policy"] == "other"


def test_it_expires_by_itself(gateway: Gateway) -> None:
    stack = gateway.stack
    new_tenant(stack, "short")
    ends = datetime.now(UTC) + timedelta(seconds=2)
    body = {"expires_at": ends.isoformat().replace("+00:00", "Z")}
    key = done(stack, "POST", "tenants/short/keys?key_id=soon", body)["secret"]
    assert status(stack, key) == (200, "")
    eventually(lambda: status(stack, key) == (401, "expired_api_key"), "the key expires", 10)
    assert datetime.now(UTC) >= ends
    assert done(stack, "GET", "tenants/short/keys/soon")["state"] == "EXPIRED"


def test_a_deleted_tenant_takes_its_keys_along(gateway: Gateway) -> None:
    """And a new one of the same name does not have them."""
    stack = gateway.stack
    key = new_tenant(stack, "gone")
    assert status(stack, key) == (200, "")
    done(stack, "DELETE", "tenants/gone")
    eventually(lambda: status(stack, key) == (401, "invalid_api_key"), "unknown", REVOKED_WITHIN_S)
    assert new_tenant(stack, "gone") != key
    assert status(stack, key) == (401, "invalid_api_key")


def test_guessing_gives_nothing(gateway: Gateway) -> None:
    """Keys with the right form and checksum: one answer for all of them, no entry in the log, no call upstream."""
    stack = gateway.stack
    calls = gateway.mocks["one"].requests()[-1].number
    answers, decisions = Counter[tuple[int, bytes]](), set[str]()
    for _ in range(200):
        guess = mint(KeyKind.TENANT, os.urandom(RANDOM_BYTES)).reveal()
        reply = wire.call(stack.port, key=guess, body={"model": MODEL, "messages": HELLO})
        answers[reply.status, reply.body] += 1
        decisions.add(reply.headers["x-sf-decision-id"])
    assert len(answers) == 1, answers
    ((code, body),) = answers
    assert code == 401
    assert b"not known here" in body
    assert len(decisions) == 200
    assert status(stack, new_tenant(stack, "after")) == (200, "")  # what was to be written before, is written
    assert not decisions & {row.decision_id for row in stack.rows()}
    assert gateway.mocks["one"].requests()[-1].number == calls + 1


def test_keys_survive_a_restart_and_their_last_use_is_known(gateway: Gateway) -> None:
    """What was noted is written at the latest when the processor ends."""
    stack = gateway.stack
    key = new_tenant(stack, "lasting")
    assert "last_used_time" not in done(stack, "GET", "tenants/lasting/keys/ci")
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert status(stack, key) == (200, "")
    stack.processor.end()
    stack.start_processor()
    stack.wait_serving()
    assert status(stack, key) == (200, "")
    used = datetime.fromisoformat(done(stack, "GET", "tenants/lasting/keys/ci")["last_used_time"])
    assert before < used <= datetime.now(UTC)
    database = (stack.state_dir / "log" / "log.db").read_bytes()
    assert key.encode() not in database
    secret = stack.state_dir / "key-hash.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_bytes().strip() not in database


def run_cli(stack: Stack, *words: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """``sovereign`` as an operator runs it: the key is in the environment, never among the arguments."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SF_")}
    environ |= {
        "SF_BASE_URL": f"http://127.0.0.1:{stack.port}/v1",
        "SF_ADMIN_KEY": key or stack.config.admin_key,
    }
    command = [sys.executable, "-P", "-m", "sovereign_ext.cli.main", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_the_whole_life_of_a_key_by_the_command_line(gateway: Gateway) -> None:
    """stdout has the key and nothing else."""
    stack = gateway.stack

    def fine(*words: str) -> str:
        ended = run_cli(stack, *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    fine("tenants", "create", "by-hand", "--policy", "default", "--policy", "other", "--margin", "12.5")
    assert "by-hand  default         default, other" in fine("tenants", "list")
    key = fine("keys", "new", "by-hand", "--api", "--id", "ci", "--expires", "30d").strip()
    assert status(stack, key) == (200, "")
    name = "tenants/by-hand/keys/ci"
    newer = fine("keys", "rotate", name, "--api", "--overlap", "1h").strip()
    assert [status(stack, each) for each in (key, newer)] == [(200, "")] * 2
    assert "revoked tenants/by-hand/keys/ci at" in fine("keys", "revoke", "ci", "--owner", "by-hand", "--api")
    assert status(stack, key) == (401, "revoked_api_key")
    listed = fine("keys", "list", "by-hand", "--api")
    assert [line.split()[1] for line in listed.splitlines()[1:]] == ["revoked", "valid"]
    assert key not in listed
    assert "operators/root/keys/root-1" in fine("keys", "list", "--admin", "--api")
    fine("tenants", "delete", "by-hand")
    eventually(lambda: status(stack, newer) == (401, "invalid_api_key"), "deleted", REVOKED_WITHIN_S)


def test_the_command_line_says_what_is_wrong(gateway: Gateway) -> None:
    stack = gateway.stack
    for words, text in (
        (
            ("keys", "revoke", "root-1", "--owner", "root", "--admin", "--api"),
            "declared in the configuration",
        ),
        (("keys", "new", "nobody", "--api"), "there is no such tenant"),
        (("keys", "revoke", "ci", "--api"), "say whose key it is"),
        (("tenants", "create", "x", "--policy", "none"), "there is no policy 'none'"),
    ):
        ended = run_cli(stack, *words)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert text in ended.stderr
