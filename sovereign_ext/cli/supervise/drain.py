"""Lets open calls end before Envoy is stopped: the drain of ``sovereign envoy drain``, for a user who watches.

Short, and shorter still for one who asks twice. A drain that fails stops nobody: Envoy is ended anyway. What it takes
is imported when it is needed, since this module is on the start path. Deliberately not here: what drains, and in which
order processes end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

WITHIN_S: Final = 5.0
_SLOW_S: Final = 1.0  # for Envoy's own answers, beyond that
_LOOK_S: Final = 0.02


def drain(
    socket: Path, impatient: Callable[[], bool], say: Callable[[str], None], within_s: float = WITHIN_S
) -> None:
    """Have the Envoy behind ``socket`` take no new calls, and wait for the open ones, ``within_s`` seconds at most.

    ``say`` gets a line if there are any, and another one if some are left. Returns at once when ``impatient``.
    """
    import asyncio

    from sovereign_ext.envoyconf.admin import EnvoyAdmin

    def waiting(calls: int) -> None:
        say(f"waiting for {_calls(calls)}, {within_s:g} s at most; Ctrl-C again stops at once")

    async def patiently() -> None:
        work = EnvoyAdmin(str(socket)).drain(accept_s=0, within_s=within_s, waiting=waiting)
        task = asyncio.create_task(work)
        while not task.done() and not impatient():
            await asyncio.wait([task], timeout=_LOOK_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):  # whatever it was: Envoy is ended now
            if left := await task:
                say(f"stopping with {_calls(left)}")

    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(patiently(), within_s + _SLOW_S))


def _calls(count: int) -> str:
    return f"{count} open call{'' if count == 1 else 's'}"
