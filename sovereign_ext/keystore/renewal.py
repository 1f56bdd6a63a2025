"""A value that expires (a token, temporary keys), made anew in good time by one caller while others wait for it.

For the credentials with which the gateway itself asks a service. Credentials of calls are kept by the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sovereign_ext.keystore.base import CredentialUnavailableError

T = TypeVar("T")

EARLY_S: Final = 240.0
"""Google's and AWS's own libraries renew some four to fifteen minutes ahead."""


_TRY_AGAIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Lasting(Generic[T]):
    """A value and until when it holds, in Unix seconds; ``None``: until it is dropped."""

    value: T = field(repr=False)
    expires_s: float | None
    renew_s: float | None


def lasting(value: T, now_s: float, expires_s: float | None) -> Lasting[T]:
    """Renewed ``EARLY_S`` ahead, or in the last quarter of a life too short for that."""
    if expires_s is None:
        return Lasting(value, None, None)
    return Lasting(value, expires_s, expires_s - min(EARLY_S, max(0.0, expires_s - now_s) / 4))


class Renewed(Generic[T]):
    """Keeps what ``make`` makes. ``clock`` gives Unix seconds."""

    def __init__(self, make: Callable[[], Awaitable[Lasting[T]]], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._kept: Lasting[T] | None = None
        self._making: asyncio.Task[Lasting[T]] | None = None

    async def get(self) -> T:
        """The value, fresh. Raises what ``make`` raises, unless the old one still holds."""
        return (await self.lasting()).value

    async def lasting(self) -> Lasting[T]:
        """The same, with its expiry."""
        kept = self._kept
        if kept is not None and (kept.renew_s is None or self._clock() < kept.renew_s):
            return kept
        if self._making is None:
            self._making = asyncio.create_task(self._make_one())
            self._making.add_done_callback(self._made)
        try:
            # Others wait for it too: whoever gives up must not end it.
            return await asyncio.shield(self._making)
        except CredentialUnavailableError:
            now_s = self._clock()
            if kept is None or kept.expires_s is None or now_s >= kept.expires_s:
                raise
            if self._kept is kept:  # neither renewed nor dropped meanwhile
                again_s = min(now_s + _TRY_AGAIN_S, kept.expires_s)
                self._kept = Lasting(kept.value, kept.expires_s, again_s)
            return kept

    def drop(self, value: T) -> None:
        """``value`` was refused. Nothing happens if it has been renewed since."""
        if self._kept is not None and self._kept.value is value:
            self._kept = None

    async def _make_one(self) -> Lasting[T]:
        self._kept = made = await self._make()
        return made

    def _made(self, task: asyncio.Task[Lasting[T]]) -> None:
        self._making = None
        if not task.cancelled():
            task.exception()  # looked at, even if all who waited have gone
