"""The gateway's own AWS keys, asked for by threads: renewed in time, by one of many, and closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from kms_world import CANARY, REGION, Clock, Script

from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.exchange.aws_threads import ThreadKeys
from sovereign_ext.keystore.exchange.sts import instant_s
from sovereign_ext.keystore.http import Surroundings
from sovereign_ext.keystore.renewal import EARLY_S
from sovereign_ext.secret import Secret

AGENT = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}
EXPIRES = "2026-11-22T23:00:00Z"
END_S = instant_s(EXPIRES)


def told(key_id: str, expires: str = EXPIRES) -> httpx.Response:
    body = {"AccessKeyId": key_id, "SecretAccessKey": CANARY, "Token": f"{CANARY}-t", "Expiration": expires}
    return httpx.Response(200, json=body)


@contextmanager
def asking(
    script: Script, clock: Clock | None = None, environ: dict[str, str] | None = None
) -> Iterator[ThreadKeys]:
    around = Surroundings(AGENT if environ is None else environ, clock or Clock(END_S - 3600), script.client)
    own = ThreadKeys(around, REGION)
    try:
        yield own
    finally:
        own.close()


def test_many_threads_ask_once() -> None:
    """All wait for the one that asks, and have its answer."""
    together = threading.Barrier(8)

    def ask() -> AwsKeys:
        together.wait(10)
        return own.keys()

    script = Script(told("ASIA1"))
    with asking(script) as own, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(ask) for _ in range(8)]
        found = [each.result(10) for each in waiting]
    assert found == [AwsKeys("ASIA1", Secret(CANARY), Secret(f"{CANARY}-t"))] * 8
    assert len(script.requests) == 1


def test_they_are_renewed_before_they_expire() -> None:
    """Some minutes ahead; while the agent is away the old ones hold to their end, and no longer."""
    clock = Clock(END_S - 3600)
    script = Script(told("ASIA1"), told("ASIA2"))
    with asking(script, clock) as own:
        assert own.keys().access_key_id == "ASIA1"
        clock.now_s = END_S - EARLY_S - 1
        assert own.keys().access_key_id == "ASIA1"
        clock.now_s = END_S - EARLY_S
        assert own.keys().access_key_id == "ASIA2"
    clock.now_s = END_S - 3600
    with asking(Script(told("ASIA1"), httpx.Response(404)), clock) as own:
        assert own.keys().access_key_id == "ASIA1"
        clock.now_s = END_S - 1
        assert own.keys().access_key_id == "ASIA1"
        clock.now_s = END_S
        with pytest.raises(OSError, match="the container's credentials endpoint answered 404") as caught:
            own.keys()
        assert CANARY not in repr(caught.value)


def test_refused_ones_are_made_anew() -> None:
    """Once for each that was refused: another thread may have been told of the same ones."""
    script = Script(told("ASIA1"), told("ASIA2"))
    with asking(script) as own:
        old = own.keys()
        own.refused(old)
        assert own.keys().access_key_id == "ASIA2"
        own.refused(old)
        assert own.keys().access_key_id == "ASIA2"
    assert len(script.requests) == 2


def test_without_any_it_is_said_where_they_may_be() -> None:
    said = "has no AWS keys of its own: set AWS_ACCESS_KEY_ID"
    with asking(Script(httpx.Response(500)), environ={}) as own, pytest.raises(OSError, match=said):
        own.keys()


def test_it_is_closed_with_its_thread() -> None:
    """Also a second time, and where nobody asked."""

    def running() -> int:
        return sum(each.name == "aws-keys" for each in threading.enumerate())

    with asking(Script(told("ASIA1"))) as own:
        assert running() == 0
        own.keys()
        assert running() == 1
    assert running() == 0
    own.close()
