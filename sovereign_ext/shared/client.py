"""Keeps one connection to the shared store, runs scripts on it, and knows at once when it cannot be reached.

A circuit, so that calls do not each wait for a timeout: the first answer that does not come ends the connection, and
until another one stands every question is refused in memory. Connecting again is tried after 50 ms, then half as much
again up to a second, with jitter. A connection stands when the server is a primary that keeps what it is given
and ``greet`` has agreed with it on the epoch.

Nothing here is said to a client but ``limits_unavailable``; ``why`` is for operators, without addresses or secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import hiredis

from sovereign_ext.errors import ServiceError
from sovereign_ext.shared.address import Address
from sovereign_ext.shared.scripts import ALL, Script
from sovereign_ext.shared.wire import Part, Wire, WireLost

_log = logging.getLogger(__name__)

TIMEOUT_S: Final = 0.08
"""For what a call waits for. A server in the same data centre answers in less than one millisecond."""

SLOW_TIMEOUT_S: Final = 1.0
"""For connecting, and for what no call waits for."""

RETRY_S: Final = 1.0
"""What a client that was refused is told to wait."""

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0
_ELSEWHERE: Final = (
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "MOVED",
    "CLUSTERDOWN",
)
"""Errors of a server that is not, or not now, the one to ask: the connection to it is given up."""


def unavailable(retry_after_s: float = RETRY_S) -> ServiceError:
    """What a call is told that cannot be counted."""
    return ServiceError(
        503, "Limits cannot be checked right now, so the call was not sent.",
        code="limits_unavailable", retry_after_s=retry_after_s,
    )  # fmt: skip


class Client:
    """``greet`` is awaited on each new connection before it is used; it may run scripts and raise ``WireLost``."""

    def __init__(
        self,
        address: Address,
        greet: Callable[[], Awaitable[None]],
        *,
        timeout_s: float = TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._greet = greet
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._wire: Wire | None = None
        self._down = asyncio.Event()
        self._standing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.lineage = ""  # of the server behind the connection, and of its data: see ``members``
        self.server = ""  # its kind and version, for status
        self.why = "not connected yet"
        self.up_since: float | None = None  # monotonic; None while it cannot be reached
        self.warnings: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether questions are asked at all."""
        return self.up_since is not None

    async def start(self, wait_s: float) -> bool:
        """Begin to connect and wait a while for it; whether the connection stands."""
        self._task = asyncio.get_running_loop().create_task(self._keep())
        return await self.wait_up(wait_s)

    async def wait_up(self, wait_s: float) -> bool:
        """Wait until the connection stands, at most ``wait_s``."""
        with contextlib.suppress(TimeoutError):
            # Not wait_for, which may swallow a cancellation before Python 3.12.
            async with asyncio.timeout(wait_s):
                await self._standing.wait()
        return self.up

    async def stop(self) -> None:
        """Let go of the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._wire is not None:
            self._wire.close("stopped")
            await asyncio.sleep(0)  # the loop closes the socket in its next turn

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Part], slow: bool = False
    ) -> Any:
        """One script in one round trip. Raises ``ServiceError`` 503 ``limits_unavailable``.

        If it raises although ``up`` was true before, the script may have run.
        """
        return await self.command(
            "EVALSHA", script.sha, len(keys), *keys, *arguments, slow=slow, script=script
        )

    async def command(self, *parts: Part, slow: bool = True, script: Script | None = None) -> Any:
        """One command. Raises as ``run`` does; never a ``ReplyError``."""
        wire = self._wire
        if wire is None:
            raise unavailable()
        timeout_s = SLOW_TIMEOUT_S if slow else self._timeout_s
        try:
            reply = await wire.ask(parts, timeout_s)
            if script is not None and _is_error(reply, "NOSCRIPT"):
                reply = await wire.ask(("EVAL", script.source, *parts[2:]), timeout_s)
        except WireLost:
            raise unavailable() from None
        if isinstance(reply, hiredis.ReplyError):
            word = str(reply).split(" ", 1)[0]
            if word in _ELSEWHERE:
                wire.close(f"the server says {word}")
            else:  # what a script got wrong, or a full memory: never with its arguments
                _log.error("the shared store refused %s: %s", script.name if script else parts[0], word)
                self.why = f"the server says {word}"
            raise unavailable()
        return reply

    def ask(self, *parts: Part, timeout_s: float = SLOW_TIMEOUT_S) -> asyncio.Future[Any] | None:
        """Send one command now, before what is sent later; ``None`` when there is no connection. See ``Wire.ask``."""
        return None if self._wire is None else self._wire.ask(parts, timeout_s)

    def send(self, *parts: Part) -> None:
        """One command whose answer nobody waits for."""
        future = self.ask(*parts)
        if future is not None:
            future.add_done_callback(_seen)

    async def loaded(self, script: Script) -> bool:
        """See to it that the server has ``script``; whether it does."""
        try:
            await self.command("SCRIPT", "LOAD", script.source)
        except ServiceError:
            return False
        return True

    def drop(self, why: str) -> None:
        """Give the connection up, because what it leads to is not what it was."""
        if self._wire is not None:
            self._wire.close(why)

    # -- connecting ------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._down.clear()
            try:
                await self._connect()
            except Exception as error:  # whatever it was: connect again
                self._note(self._reason(error))
                if self._wire is not None:
                    self._wire.close(self.why)
            else:
                backoff_s = _BACKOFF_FIRST_S
                self.up_since, self.why = self._monotonic(), ""
                self._standing.set()
                _log.info("the shared store answers: %s", self.server)
                await self._down.wait()
            self._wire = None
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            backoff_s = min(backoff_s * 1.5, _BACKOFF_MAX_S)

    async def _connect(self) -> None:
        wire = Wire(self._lost)
        try:
            async with asyncio.timeout(SLOW_TIMEOUT_S):
                await self._address.connect(wire)
        except OSError:  # also TimeoutError
            wire.close("cannot be reached")
            raise
        asked = [wire.ask(parts, SLOW_TIMEOUT_S) for parts in self._address.greeting()]
        info = wire.ask(("INFO",), SLOW_TIMEOUT_S)
        asked += [wire.ask(("SCRIPT", "LOAD", script.source), SLOW_TIMEOUT_S) for script in ALL]
        try:
            for reply in await asyncio.gather(*asked, info):
                if isinstance(reply, hiredis.ReplyError):
                    raise WireLost(f"the server says {str(reply).split(' ', 1)[0]}")
            self._read_info(info.result())
            self._wire = wire  # greet runs scripts over it
            await self._greet()
        except BaseException:
            wire.close("could not begin")
            raise
        if self._down.is_set():
            raise WireLost(self.why)

    def _read_info(self, text: bytes) -> None:
        info = dict(
            line.split(":", 1) for line in text.decode("utf-8", "replace").splitlines() if ":" in line
        )
        if info.get("role") not in ("master", None):
            raise WireLost("the server is a replica")
        run_id, replication_id = info.get("run_id", ""), info.get("master_replid", "")
        if not run_id or not replication_id:
            raise WireLost("the server does not say which it is")
        self.lineage = f"{run_id}.{replication_id}"
        kind = "Valkey" if "valkey_version" in info else "Redis"
        self.server = f"{kind} {info.get('valkey_version') or info.get('redis_version', '?')}"
        policy = info.get("maxmemory_policy", "noeviction")
        forgets = f"maxmemory-policy is {policy}: limits may be forgotten; use noeviction"
        self.warnings = () if policy == "noeviction" else (forgets,)
        for warning in self.warnings:
            _log.warning("the shared store's %s", warning)

    def _lost(self, why: str) -> None:
        if self.up_since is not None:
            _log.warning("the shared store is lost: %s", why)
        self.up_since = None
        self._wire = None
        self._note(why)
        self._standing.clear()
        self._down.set()

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return _kind(error)  # errors of the system name the address
        if isinstance(error, ServiceError):
            return self.why
        return (
            str(error)
            if isinstance(error, WireLost)
            else f"its answer is not understood ({type(error).__name__})"
        )

    def _note(self, why: str) -> None:
        if why and why != "could not begin":
            self.why = why


def _is_error(reply: Any, word: str) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(word)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # that the connection ended is told to those who wait


def _kind(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return {"ConnectionRefusedError": "connection refused", "gaierror": "its name is not known"}.get(
        type(error).__name__, f"cannot be reached ({type(error).__name__})"
    )
