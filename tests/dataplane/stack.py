"""The gateway as tests run it: real Envoy, the real processor, real mock providers, one directory for all.

``ConfigFile`` builds a ``sovereign.yaml``; ``Stack`` runs the processes on it and looks things up in the log.
Everything is stopped by ``Stack.stop``, which checks that nothing is left; should the tests themselves be
killed, the supervisor's guard ends the processes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import wire
import yaml

from sovereign_ext.attest.commit import commit
from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.cli.supervise.stack import envoy_binary
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

START_S = 30.0
LOOK_S = 0.01
HELLO = [{"role": "user", "content": "Say hello to the reader"}]
SAID = "You said: Say hello to the reader"
"""What every mock answers to it."""


def eventually(found: Callable[[], Any], what: str, within_s: float = 15.0) -> Any:
    """The first truthy value of ``found``; fails naming ``what`` when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(LOOK_S)
    return value


def sovereign(*argv: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, run to its end, with ``environ`` besides the tests' own environment."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "sovereign_ext.cli.main", *argv],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@dataclass
class ConfigFile:
    """A configuration being written. ``tenant`` ``t`` and an admin with freshly minted keys are in it."""

    origin: str = "sovereign.test/log"
    limits: dict[str, int] = field(default_factory=dict)
    providers: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    trust: dict[str, Any] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    keystore: dict[str, Any] = field(default_factory=dict)
    tenants: list[dict[str, Any]] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)  # of tenant t
    more: dict[str, Any] = field(default_factory=dict)  # sections as they are
    environ: dict[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: mint(KeyKind.TENANT, secrets.token_bytes(32)).reveal())
    other_key: str = field(default_factory=lambda: mint(KeyKind.TENANT, secrets.token_bytes(32)).reveal())
    admin_key: str = field(default_factory=lambda: mint(KeyKind.ADMIN, secrets.token_bytes(32)).reveal())

    def provider(self, name: str, kind: str, url: str, *, secret: str | None = "", **more: Any) -> None:
        """A provider; with ``secret`` ``""`` it gets a credential of its own, with ``None`` it has none.

        ``more`` goes into the file as it is, for example ``timeouts={"first_byte_ms": 300}``.
        """
        entry: dict[str, Any] = {"id": name, "kind": kind, "endpoint": url}
        if kind not in ("ollama", "bedrock"):
            entry["endpoint"] += "/v1"
        if secret is not None:
            variable = f"SF_TEST_KEY_{name.upper().replace('-', '_').replace('.', '_')}"
            self.environ[variable] = secret or f"sk-own-{name}-{secrets.token_hex(8)}"
            entry["credential"] = {"env": variable}
        self.providers.append(entry | more)

    def policy(self, name: str, chain: Iterable[Any] = (), **more: Any) -> None:
        """A policy. The first one is the tenants' default."""
        self.policies.append({"id": name, "providers": list(chain), **more})

    def model(
        self,
        name: str,
        providers: Iterable[str],
        *,
        capabilities: Iterable[str] = ("chat",),
        upstream: str | None = None,
        **more: Any,
    ) -> None:
        """A model with one deployment on each provider, called ``<model>.<provider>`` with / as -.

        ``more`` goes into the model as it is.
        """
        self.models.append({"id": name, **more})
        for provider in providers:
            self.deployments.append(
                {
                    "id": f"{name.replace('/', '-').replace(':', '-')}.{provider}",
                    "model": name,
                    "provider": provider,
                    "upstream_model": upstream or f"up-{name}",
                    "capabilities": list(capabilities),
                }
            )

    def tenant(self, name: str, *keys: dict[str, Any], **more: Any) -> list[str]:
        """A further tenant; its keys, one for each of ``keys``, which go into the file as they are, or just one.

        ``more`` goes into the tenant as it is, for example ``spend_caps=[{"usd": 1}]``.
        """
        minted = [mint(KeyKind.TENANT, secrets.token_bytes(32)).reveal() for _ in keys or ({},)]
        terms = zip(keys or ({},), minted, strict=True)
        entries = [
            {"id": f"{name}-{number}", "hash": hash_key(key), **term}
            for number, (term, key) in enumerate(terms, 1)
        ]
        self.tenants.append({"id": name, "keys": entries, **more})
        return minted

    def document(self) -> dict[str, Any]:
        if not self.policies:
            self.policy("default")
        policies = [policy["id"] for policy in self.policies]
        tenants = [
            {
                "id": name,
                "keys": [{"id": f"{name}-1", "hash": hash_key(key)}],
                "policies": policies,
                "default_policy": policies[0],
            }
            for name, key in (("t", self.key), ("other", self.other_key))
        ]
        tenants += [{"policies": policies, "default_policy": policies[0]} | each for each in self.tenants]
        document = {
            "version": 1,
            "origin": self.origin,
            "admins": [{"id": "root", "keys": [{"id": "root-1", "hash": hash_key(self.admin_key)}]}],
            "tenants": tenants,
            "policies": self.policies,
            "models": self.models,
            "providers": self.providers,
            "deployments": self.deployments,
        }
        if self.identities:
            tenants[0]["identities"] = self.identities
        parts = self.more | {
            "limits": self.limits,
            "trust": self.trust,
            "log": self.log,
            "keystore": self.keystore,
        }
        return document | {name: part for name, part in parts.items() if part}

    def write(self, path: Path) -> None:
        """Replace the file in one step, as editors and `sovereign keys` do."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(yaml.safe_dump(self.document(), sort_keys=False))
        temporary.replace(path)


@dataclass(frozen=True)
class Row:
    """An entry of the log as the database has it. ``predicate`` is what the call's envelope says."""

    index: int
    decision_id: str
    tenant: str
    leaf_hash: bytes
    predicate: dict[str, Any]
    subjects: dict[str, str]
    opening: dict[str, Any]

    @property
    def outcomes(self) -> list[str]:
        return [attempt["outcome"] for attempt in self.predicate["attempts"]]

    def commits_to(self, item: str, data: bytes) -> bool:
        """Whether the row's commitment called ``item`` is one to ``data``."""
        return self.subjects.get(item) == commit(b64decode(self.opening["key"]), item, data).hex()


class Process:
    """One process of the stack, its own group leader, its output in a file."""

    def __init__(
        self, name: str, argv: list[str], log: Path, environ: Mapping[str, str], leash: Leash
    ) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._environ = dict(environ)
        self._leash = leash
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> None:
        """Start it. ``options`` goes to ``Popen``."""
        assert self._popen is None, f"{self.name} runs already"
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environ,
                process_group=0, **options,
            )  # fmt: skip
        self._leash.add(self._popen.pid)

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} does not run"
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        """Signal it and wait; its exit code. It is killed when it does not end in time, which fails."""
        popen = self._popen
        if popen is None:
            return 0
        if popen.poll() is None:
            popen.send_signal(number)
            popen.send_signal(signal.SIGCONT)
        try:
            code = popen.wait(within_s)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
            raise AssertionError(f"{self.name} did not end within {within_s:g} s") from None
        finally:
            self._leash.drop(popen.pid)
            self._popen = None
        return code

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel's out-of-memory killer would."""
        self.end(signal.SIGKILL)


class Stack:
    """Envoy and the processor on one directory. ``with Stack(config) as stack`` runs both."""

    def __init__(
        self,
        config: ConfigFile,
        *,
        processor_options: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
        state_dir: Path | None = None,
        envoy_threads: int = 1,
    ) -> None:
        self.config = config
        # Not pytest's tmp_path: sockets need a path of at most 104 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="sf-"))
        self.state_dir = state_dir or self.root / "state"
        self.state_dir.mkdir(exist_ok=True, mode=0o700)
        self.run_dir = self.root / "run"
        self.config_file = self.root / "sovereign.yaml"
        self.port = free_ports(1)[0]
        self._leash = Leash()
        self._leash.hold()
        env = {**os.environ, **config.environ, **(environ or {})}
        self.processor = Process(
            "processor",
            [
                *(sys.executable, "-P", "-m", "sovereign_ext.cli.main", "processor"),
                *("--config", str(self.config_file), "--state-dir", str(self.state_dir)),
                *("--run-dir", str(self.run_dir), "--listen-port", str(self.port)),
                *processor_options,
            ],
            self.root / "processor.log",
            env,
            self._leash,
        )
        self.envoy = Process(
            "envoy",
            [
                *(str(envoy_binary()), "-c", str(self.state_dir / "envoy" / "bootstrap.yaml")),
                *("--concurrency", str(envoy_threads), "--disable-hot-restart", "--log-level", "warning"),
            ],
            self.root / "envoy.log",
            os.environ,
            self._leash,
        )

    def __repr__(self) -> str:
        return f"<Stack {self.root} on port {self.port}>"

    def __enter__(self) -> Stack:
        try:
            self.config.write(self.config_file)
            self.start()
        except BaseException:
            sys.stderr.write(self.logs())
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- processes -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self.start_processor()
        self.start_envoy()

    def start_processor(self, **options: Any) -> None:
        """Start the processor and wait until it says that it is ready."""
        ready = self.run_dir / "processor.ready"
        ready.unlink(missing_ok=True)
        self.processor.start(**options)
        eventually(lambda: ready.exists() or not self.processor.running, "processor ready", START_S)
        assert self.processor.running, f"the processor did not start:\n{self.logs()}"

    def start_envoy(self) -> None:
        """Start Envoy and wait until a call passes through both."""
        self.envoy.start()
        self.wait_serving()

    def wait_serving(self) -> None:
        """Wait until ``GET /v1/models`` is answered."""

        def serving() -> bool:
            assert self.envoy.running, f"Envoy has ended:\n{self.logs()}"
            try:
                return self.models().status == 200
            except OSError:
                return False

        eventually(serving, "GET /v1/models answers 200", START_S)

    def stop(self) -> None:
        """End everything in order and see that nothing is left; the directory goes too."""
        try:
            mine = [psutil.Process(each.pid) for each in (self.envoy, self.processor) if each.running]
            everybody = [*mine, *(child for each in mine for child in each.children(recursive=True))]
            codes = [self.envoy.end(), self.processor.end()]
            left = [each for each in everybody if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            assert not left, f"still running: {left}"
            assert codes[1] in (0, -signal.SIGKILL), f"the processor ended with {codes[1]}:\n{self.logs()}"
        finally:
            self._leash.release()
            shutil.rmtree(self.root, ignore_errors=True)

    def logs(self, lines: int = 60) -> str:
        """The last lines of both logs."""
        parts = []
        for process in (self.processor, self.envoy):
            text = process.log.read_text(errors="replace") if process.log.exists() else ""
            parts.append(f"--- {process.name}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(parts) + "\n"

    # -- calls ---------------------------------------------------------------------------------------------

    def chat(self, model: str, *, stream: bool = False, messages: Any = None, **more: Any) -> wire.Reply:
        """A chat completion. ``headers`` and ``timeout_s`` go to ``wire.call``, the rest into the body."""
        options = {name: more.pop(name) for name in ("headers", "timeout_s") if name in more}
        return wire.call(
            self.port, key=self.config.key, body=chat_body(model, stream, messages, more), **options
        )

    def open_chat(
        self, model: str, *, stream: bool = True, messages: Any = None, **more: Any
    ) -> wire.Running:
        """A chat completion of which only the headers have been read."""
        body = chat_body(model, stream, messages, more)
        return wire.open_call(self.port, key=self.config.key, body=body)

    def models(self) -> wire.Reply:
        return wire.call(self.port, "/v1/models", key=self.config.key, method="GET", timeout_s=5)

    def management(self, path: str) -> Any:
        """A management resource as the admin sees it."""
        reply = wire.call(self.port, path, key=self.config.admin_key, method="GET")
        assert reply.status == 200, reply
        return reply.json

    # -- the log -------------------------------------------------------------------------------------------

    def rows(self, where: str = "1", *values: Any, kind: str = "outcome") -> list[Row]:
        """The outcomes (or entries of another kind) in the log in order, as the database has them now."""
        path = self.state_dir / "log" / "log.db"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            found = database.execute(
                "SELECT idx, decision_id, tenant, leaf_hash, envelope, opening FROM log_entries "
                f"WHERE kind = ? AND ({where}) ORDER BY idx",
                (kind, *values),
            ).fetchall()
        finally:
            database.close()
        return [_row(*each) for each in found]

    def indices(self) -> list[int]:
        """The indices of all entries, of every kind, in order."""
        path = self.state_dir / "log" / "log.db"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            return [index for (index,) in database.execute("SELECT idx FROM log_entries ORDER BY idx")]
        finally:
            database.close()

    def row(self, decision_id: str) -> Row:
        """The one entry of a call, waited for: a call nobody waits for is written down a little later."""
        found = eventually(lambda: self.rows("decision_id = ?", decision_id), f"entry of {decision_id}")
        assert len(found) == 1, found
        return found[0]

    def row_of(self, reply: wire.Reply) -> Row:
        """The entry of the call with this answer."""
        return self.row(reply.headers["x-sf-decision-id"])

    def fsck(self) -> None:
        """`sovereign log fsck` finds no fault."""
        self._check_log("fsck")

    def monitor(self) -> None:
        """`sovereign log monitor` finds that every entry obeys its policy."""
        self._check_log("monitor")

    def _check_log(self, command: str) -> None:
        done = sovereign("log", command, "--state-dir", str(self.state_dir))
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Gateway:
    """A stack and its mock providers by id."""

    stack: Stack
    mocks: dict[str, RunningMock]


def chat_body(model: str, stream: bool, messages: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    body = {"model": model, "messages": HELLO if messages is None else messages, **more}
    return body | ({"stream": True} if stream else {})


def _row(index: int, decision_id: str, tenant: str, leaf: bytes, envelope: bytes, opening: bytes) -> Row:
    statement = json.loads(b64decode(json.loads(envelope)["payload"]))
    subjects = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    return Row(index, decision_id, tenant, leaf, statement["predicate"], subjects, json.loads(opening))
