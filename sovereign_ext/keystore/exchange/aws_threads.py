"""The gateway's own AWS keys for code that waits in threads: ``PlatformKeys`` on a loop of its own.

The log writes tiles from threads, and ``PlatformKeys`` belongs to one event loop: it keeps temporary keys, renews them
ahead of their expiry, and lets one caller ask while others wait. So a thread runs a loop for it, from the first
question to ``close``. Deliberately not here: where keys come from, and when they are renewed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError
from sovereign_ext.keystore.exchange.aws_platform import PlatformKeys
from sovereign_ext.keystore.http import TIMEOUT_S, Surroundings

T = TypeVar("T")

WAIT_S: Final = 2 * TIMEOUT_S
"""Longer than any service is asked, so it is only reached by a thread that was closed meanwhile."""


class ThreadKeys:
    """The ``KeySource`` of ``tlog.s3tiles`` over the platform's keys; ``region`` is where STS is asked.

    Raises ``ConfigError`` for an ``AWS_CA_BUNDLE`` that is none.
    """

    def __init__(self, around: Surroundings, region: str) -> None:
        self._platform = PlatformKeys.from_environment(around, region=region)
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def keys(self) -> AwsKeys:
        """Raises ``OSError``: there are none, or they cannot be had."""
        try:
            return self._ask(self._platform.keys())
        except (CredentialMissingError, CredentialUnavailableError) as error:
            raise OSError(str(error)) from None
        except (CancelledError, TimeoutError):
            raise OSError("the gateway's own AWS keys are not asked for any more") from None

    def refused(self, keys: AwsKeys) -> None:
        """The next ones are made anew, where keys are made and not read."""
        self._started().call_soon_threadsafe(self._platform.refused, keys)

    def close(self) -> None:
        """Let go of connections and thread."""
        with self._starting:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._platform.aclose(), loop).result(WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(question, self._started()).result(WAIT_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # Nobody has to wait for it at the end of a process that did not close it.
                self._thread = threading.Thread(target=self._loop.run_forever, name="aws-keys", daemon=True)
                self._thread.start()
            return self._loop
