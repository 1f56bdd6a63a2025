"""Waiting for news: where it is looked for, what ends it, and that the event loop is left alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sovereign_ext.looking import until

PATIENCE_S = 30.0


def test_news_end_the_waiting_and_looks_are_made_on_another_thread() -> None:
    """One look after the other, until there is something; the loop's thread makes none of them."""
    answers, threads = [None, None, "news"], set[int]()

    def look() -> str | None:
        threads.add(threading.get_ident())
        return answers.pop(0)

    assert asyncio.run(asyncio.wait_for(until(look, 0.001), PATIENCE_S)) == "news"
    assert not answers
    assert threading.get_ident() not in threads


def test_what_looking_raises_is_raised() -> None:
    """Nobody waits for ever because a look failed."""

    def look() -> str | None:
        raise OSError("no such mount")

    with pytest.raises(OSError, match="no such mount"):
        asyncio.run(asyncio.wait_for(until(look, 0.001), PATIENCE_S))


def test_a_look_that_hangs_stops_neither_the_loop_nor_its_end() -> None:
    """As on a network mount: the waiter can be cancelled, the loop closed, and a late answer harms nobody."""
    begun, hanging = threading.Event(), threading.Event()
    looking: list[threading.Thread] = []

    def look() -> str | None:
        looking.append(threading.current_thread())
        begun.set()
        hanging.wait(PATIENCE_S)
        return "too late"

    async def run() -> None:
        waiting = asyncio.create_task(until(look, 0.001))
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    assert looking[0].daemon, "the process need not wait for it"
    hanging.set()
    looking[0].join(PATIENCE_S)
    assert not looking[0].is_alive()


def test_nobody_looks_any_more_after_a_cancellation() -> None:
    """The thread ends with who waited."""
    looked, looking = threading.Event(), list[threading.Thread]()

    def look() -> str | None:
        looking.append(threading.current_thread())
        looked.set()
        return None

    async def run() -> None:
        waiting = asyncio.create_task(until(look, 0.001))
        assert await asyncio.to_thread(looked.wait, PATIENCE_S)
        waiting.cancel()

    asyncio.run(run())
    looking[0].join(PATIENCE_S)
    assert not looking[0].is_alive()
