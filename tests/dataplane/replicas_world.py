"""Several routers that act as one: each its own Envoy and processor, PostgreSQL, Valkey and tiles for all."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from services import PostgresDatabase, Valkey
from stack import ConfigFile, Stack, chat_body, sovereign

PATIENCE_S = 60.0


@dataclass
class SharedConfig(ConfigFile):
    """A configuration whose replicas share ``directory`` and the two servers. ``tenant`` goes into tenant ``t``."""

    directory: Path = field(kw_only=True)
    tenant: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        document = super().document()
        document["tenants"][0] |= self.tenant
        document["storage"] = {
            "database": {"url_env": "SF_TEST_DATABASE"},
            "shared": {"url_env": "SF_TEST_VALKEY"},
            "tiles": {"directory": str(self.directory / "tiles")},
            "log_keys_dir": str(self.directory / "keys"),
            "key_hash": {"file": str(self.directory / "key-hash")},
        }
        return document


class Replicas:
    """``with Replicas(3, postgres, valkey) as replicas``; ``config`` may be filled before it is entered.

    ``options`` go to each ``stack`` that is made.
    """

    def __init__(
        self,
        count: int,
        postgres: PostgresDatabase,
        valkey: Valkey,
        *,
        stack: Callable[..., Stack] = Stack,
        **options: Any,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sf-shared-"))
        (self.directory / "key-hash").write_text("c2hhcmVkIGJ5IGFsbCByZXBsaWNhcyBvZiB0aGlzIHRlc3Q=\n")
        self.config = SharedConfig(directory=self.directory)
        self.config.environ |= {"SF_TEST_DATABASE": postgres.url, "SF_TEST_VALKEY": valkey.url}
        self.postgres, self.valkey = postgres, valkey
        self.stacks: list[Stack] = []
        self._count = count
        self._made = partial(stack, self.config, **options)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.upgrade()
            for _ in range(self._count):
                self.stacks.append(opening.enter_context(self._made()))
            self._open = opening.pop_all()
        return self

    def add(self) -> Stack:
        """One router more, in a directory and on a port of its own; it serves when this returns."""
        self.stacks.append(self._open.enter_context(self._made()))
        return self.stacks[-1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def upgrade(self) -> None:
        """`sovereign db upgrade`."""
        file = self.directory / "sovereign.yaml"
        self.config.write(file)
        place = ("--config", str(file), "--state-dir", str(self.directory / "none"))
        done = self.sovereign("db", "upgrade", *place)
        assert done.returncode == 0, done.stdout + done.stderr

    def sovereign(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """The command, with the environment of the routers."""
        return sovereign(*argv, environ=self.config.environ)

    def logs(self) -> str:
        return "\n".join(stack.logs() for stack in self.stacks)


@dataclass(frozen=True)
class Load:
    """What many clients got: how often each status or error came, and the bodies of the answers."""

    statuses: Counter[int | str]
    answers: list[dict[str, Any]]
    errors: list[dict[str, Any]]

    @property
    def codes(self) -> Counter[str]:
        """How often each error code came."""
        return Counter(error["code"] for error in self.errors)


def storm(stacks: Iterable[Stack], key: str, *, calls: int, clients: int, model: str, **body: Any) -> Load:
    """``calls`` calls from ``clients`` concurrent clients, each over all routers in turn."""
    return asyncio.run(
        _storm(
            [stack.port for stack in stacks],
            key,
            calls,
            clients,
            chat_body(model, stream=False, messages=None, more=body),
        )
    )


async def _storm(ports: list[int], key: str, calls: int, clients: int, body: dict[str, Any]) -> Load:
    load = Load(Counter(), [], [])
    numbers: Iterator[int] = iter(range(calls))
    headers = {"authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def client(http: httpx.AsyncClient) -> None:
        for number in numbers:
            port = ports[number % len(ports)]
            try:
                reply = await http.post(
                    f"http://127.0.0.1:{port}/v1/chat/completions", json=body, headers=headers
                )
            except httpx.HTTPError as error:
                load.statuses[type(error).__name__] += 1
                continue
            load.statuses[reply.status_code] += 1
            if reply.status_code == 200:
                load.answers.append(reply.json())
            else:
                load.errors.append(reply.json()["error"])

    async with httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as http, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client(http))
    return load
