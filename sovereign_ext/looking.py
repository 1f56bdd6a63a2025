"""Looks at something again and again, on a thread of its own, and wakes the event loop only when there is news.

For what can be seen by looking alone, such as files on any file system. Not on the loop: a file on a hanging network
mount must not stop the calls in flight. Not in the loop's pool of threads either: there each look wakes the loop twice,
and one that hangs keeps a thread from others and the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

NewsT = TypeVar("NewsT")


class Until(Protocol):
    """How to wait for news; ``until`` is one."""

    async def __call__(self, look: Callable[[], NewsT | None], every_s: float) -> NewsT: ...


async def until(look: Callable[[], NewsT | None], every_s: float) -> NewsT:
    """What ``look`` finds; it is called every ``every_s`` seconds until that is not ``None``, first after that long.

    On a thread, once at a time. Raises what ``look`` raises. After a cancellation a look under way may still end.
    """
    loop, over = asyncio.get_running_loop(), threading.Event()
    found: asyncio.Future[NewsT] = loop.create_future()

    def tell(news: NewsT | None, error: BaseException | None) -> None:
        if found.done():
            return  # cancelled
        if error is not None:
            found.set_exception(error)
        elif news is not None:
            found.set_result(news)

    def run() -> None:
        news: NewsT | None = None
        error: BaseException | None = None
        try:
            while news is None:
                if over.wait(every_s):
                    return
                news = look()
        except BaseException as raised:  # the waiter's to handle
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is gone, and the waiter with it
            loop.call_soon_threadsafe(tell, news, error)

    threading.Thread(target=run, name="looking", daemon=True).start()
    try:
        return await found
    finally:
        over.set()
