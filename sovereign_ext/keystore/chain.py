"""The keystore that calls ask: what a search along the links came to is kept here for a while (ADR 0011).

An answer is kept for ``ttl_s``, or until what was minted from it expires; it is renewed in the background before that,
once for all who want it. A failure is kept for ``negative_ttl_s``. A value that the provider refuses is asked for
anew at once; the same value refused again only after a pause that doubles. Whose key it is, ``links`` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sovereign_ext.config.model import Provider
from sovereign_ext.credentials import ProviderCredential
from sovereign_ext.keystore.base import (
    CredentialMissingError,
    CredentialUnavailableError,
    Found,
    Minted,
    Minter,
    fingerprint,
)
from sovereign_ext.keystore.links import Followed, Links, Stored, search
from sovereign_ext.looking import Until, until

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
_AHEAD_SHARE: Final = 0.1
_AHEAD_MOST_S: Final = 30.0
"""How long before its end an answer is renewed: a tenth of its span, at most this."""

_MARGIN_SHARE: Final = 0.1
_MARGIN_MOST_S: Final = 30.0
"""What is minted is not used this close to its end: the call has to arrive, and clocks differ."""

_REFUSED_FIRST_S: Final = 5.0

Key = tuple[str, str]
"""Tenant and provider id."""

Failure = CredentialMissingError | CredentialUnavailableError


@dataclass(slots=True, eq=False)
class _Kept:
    """An answer, or the failure to get one. Times are monotonic seconds."""

    provider: Provider
    outcome: Found | Failure = field(repr=False)
    until: float
    renew_at: float


@dataclass(frozen=True, slots=True, eq=False)
class _Kin:
    """What was minted, from what. Times are Unix seconds; ``None`` for both: it is not to be used again."""

    provider: Provider
    fingerprint: str | None
    minted: Minted
    usable_until: float | None
    again_until: float | None

    def serves(self, provider: Provider, shown: str | None, now_s: float) -> bool:
        """Whether minting again from the same would be in vain."""
        if self.again_until is None or now_s >= self.again_until:
            return False
        return self.fingerprint == shown and self.provider == provider


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A value was refused: until when the same value is not asked for anew, and how long that pause is."""

    fingerprint: str | None
    until: float
    pause_s: float


class Chain:
    """A ``Keystore``. ``clock`` gives monotonic seconds, ``wall`` Unix seconds. Belongs to one event loop."""

    def __init__(self, links: Links, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._links = links
        self._clock = clock
        self._wall = wall
        self._kept: dict[Key, _Kept] = {}
        self._minted: dict[Key, _Kin] = {}
        self._refusals: dict[Key, _Refusal] = {}
        self._searches: dict[Key, tuple[Provider, asyncio.Task[Found]]] = {}
        self._tasks: set[asyncio.Task[Found]] = (
            set()
        )  # those that were forgotten too: the loop does not hold them

    def use(self, links: Links) -> tuple[asyncio.Task[Found], ...]:
        """Go on with other links, and forget what the old ones said; the searches that still ask those."""
        self._links = links
        self._minted.clear()
        self.forget()
        return tuple(self._tasks)

    def forget(self) -> None:
        """Ask anew for everything. Searches under way go on for who waits for them, and are not kept."""
        self._kept.clear()
        self._refusals.clear()
        self._searches.clear()

    async def follow(self, until: Until = until) -> None:
        """Notice changed files, within about a second, until cancelled."""
        while True:
            await until(lambda: _any_changed(self._links.followed) or None, LOOK_S)
            self.forget()

    async def stop(self) -> None:
        """End searches under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- Keystore ------------------------------------------------------------------------------------------

    def ready(self, tenant: str, provider: Provider) -> Found | None:
        """As ``Keystore`` says. Begins a renewal when one is due, and does not wait for it."""
        kept = self._kept.get((tenant, provider.id))
        if kept is None or not isinstance(kept.outcome, Found):
            return None
        now = self._clock()
        if now >= kept.until or not _is_for(kept, provider):
            return None
        if now >= kept.renew_at:
            kept.renew_at = now + self._links.negative_ttl_s  # should this renewal fail
            self._search(tenant, provider)
        return kept.outcome

    async def fetch(self, tenant: str, provider: Provider) -> Found:
        """As ``Keystore`` says."""
        kept = self._kept.get((tenant, provider.id))
        if kept is not None and self._clock() < kept.until and _is_for(kept, provider):
            if isinstance(kept.outcome, Found):
                return kept.outcome
            raise _copy(kept.outcome)
        # Shielded: others may wait for the same search, and what it finds is of use even if nobody does.
        return await asyncio.shield(self._search(tenant, provider))

    def refused(self, tenant: str, provider: Provider, found: Found) -> None:
        """As ``Keystore`` says."""
        key = (tenant, provider.id)
        kept = self._kept.get(key)
        if kept is None or kept.outcome is not found:
            return  # it has been replaced already
        now, pause_s, last = self._clock(), _REFUSED_FIRST_S, self._refusals.get(key)
        if last is not None and last.fingerprint == found.fingerprint:
            if now < last.until:
                return
            if now < last.until + self._links.ttl_s:
                pause_s = min(2 * last.pause_s, max(self._links.ttl_s, _REFUSED_FIRST_S))
        self._refusals[key] = _Refusal(found.fingerprint, now + pause_s, pause_s)
        del self._kept[key]
        self._minted.pop(key, None)
        _log.warning(
            "%s refused the key %s of %s (source: %s); it is looked up anew",
            provider.id, found.fingerprint, tenant, found.source,
        )  # fmt: skip

    # -- one search ----------------------------------------------------------------------------------------

    def _search(self, tenant: str, provider: Provider) -> asyncio.Task[Found]:
        key = (tenant, provider.id)
        running = self._searches.get(key)
        if running is not None and running[0] == provider:
            return running[1]
        task = asyncio.get_running_loop().create_task(self._searched(tenant, provider))
        self._searches[key] = (provider, task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(key, provider, done))
        return task

    async def _searched(self, tenant: str, provider: Provider) -> Found:
        links = self._links
        sought = f"key of {tenant} for {provider.id}"
        try:
            async with asyncio.timeout(links.limit_s):
                stored = await search(links, tenant, provider)
                return await self._usable(links, tenant, provider, stored)
        except CredentialMissingError as error:
            raise CredentialMissingError(f"{sought}: {error}") from None
        except CredentialUnavailableError as error:
            raise CredentialUnavailableError(error.reason, f"{sought}: {error}") from None
        except TimeoutError:
            text = f"{sought}: not found within {links.limit_s:g} s"
            raise CredentialUnavailableError("timeout", text) from None
        except Exception as error:
            # Only its type: the text of an unforeseen error may quote what was being handled.
            text = f"{sought}: unexpected {type(error).__name__}"
            raise CredentialUnavailableError("internal", text) from None

    async def _usable(self, links: Links, tenant: str, provider: Provider, stored: Stored | None) -> Found:
        minter = links.minters.get(provider.kind)
        shown = None if stored is None else fingerprint(stored.secret)
        credential: ProviderCredential | None = None if stored is None else stored.secret
        if minter is not None:
            credential = (await self._mint(minter, (tenant, provider.id), provider, stored, shown)).credential
        elif stored is not None and not (
            stored.secret.reveal().isascii() and stored.secret.reveal().isprintable()
        ):
            raise CredentialUnavailableError(
                "damaged", f"{stored.source} holds characters that no header may"
            )
        if stored is None:
            return Found(credential, None, None)
        return Found(credential, shown, stored.source, own=stored.own)

    async def _mint(
        self, minter: Minter, key: Key, provider: Provider, stored: Stored | None, shown: str | None
    ) -> Minted:
        """What was minted from the same stored text is used again while it lasts."""
        last = self._minted.get(key)
        if last is not None and last.serves(provider, shown, self._wall()):
            return last.minted
        minted = await minter.mint(provider, None if stored is None else stored.secret)
        now, usable_until, again_until = self._wall(), None, None
        if minted.expires_s is not None:
            life_s = max(0.0, minted.expires_s - now)
            usable_until = minted.expires_s - min(_MARGIN_SHARE * life_s, _MARGIN_MOST_S)
            again_until = usable_until - _ahead_s(usable_until - now)
        self._minted[key] = _Kin(provider, shown, minted, usable_until, again_until)
        return minted

    def _over(self, key: Key, provider: Provider, task: asyncio.Task[Found]) -> None:
        """Keep what a search came to, unless everything was forgotten since it began."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        running = self._searches.get(key)
        if running is None or running[1] is not task:
            return
        del self._searches[key]
        now, kept = self._clock(), self._kept.get(key)
        if isinstance(error, Failure):
            if kept is not None and isinstance(kept.outcome, Found) and now < kept.until:
                _log.warning("%s; the one in use goes on", error)
                return
            _log.error("%s", error)
            self._kept[key] = _Kept(provider, error, now + self._links.negative_ttl_s, renew_at=now)
        elif error is None and not task.cancelled():
            span_s = self._span_s(key)
            until = now + span_s
            self._kept[key] = _Kept(provider, task.result(), until, until - _ahead_s(span_s))

    def _span_s(self, key: Key) -> float:
        minted = self._minted.get(key)
        if minted is None or minted.usable_until is None:
            return self._links.ttl_s
        return max(0.0, min(self._links.ttl_s, minted.usable_until - self._wall()))


def _ahead_s(span_s: float) -> float:
    return min(_AHEAD_SHARE * span_s, _AHEAD_MOST_S)


def _is_for(kept: _Kept, provider: Provider) -> bool:
    """Whether the answer is for the provider as it is configured now; an edited file makes new, equal objects."""
    if kept.provider is provider:
        return True
    if kept.provider != provider:
        return False
    kept.provider = provider
    return True


def _any_changed(followed: tuple[Followed, ...]) -> bool:
    looked = [each.changed() for each in followed]  # everybody is to look
    return any(looked)


def _copy(error: Failure) -> Failure:
    """A fresh one: an exception raised again and again would gather tracebacks."""
    if isinstance(error, CredentialUnavailableError):
        return CredentialUnavailableError(error.reason, str(error))
    return CredentialMissingError(str(error))
