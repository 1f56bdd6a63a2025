"""A new configuration takes the place of the one in use.

In three steps, so that no stream is dropped and no call is planned for a cluster that Envoy does not know:

1. Envoy is given the providers of the new configuration and of every call in flight together.
2. When it serves them, new calls get the new snapshot; calls in flight keep the one they took.
3. When the last of those is over, Envoy is given the new configuration's providers alone.

Not here: where a new configuration comes from and when it is checked, which is ``effective``'s matter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.live import Live
from sovereign_ext.config.load import Loaded
from sovereign_ext.config.model import Config
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.enrolment import refuse_clashes
from sovereign_ext.envoyfiles import EnvoyFiles
from sovereign_ext.errors import ConfigError, LogError
from sovereign_ext.exchange.leaks import prepare_scanners
from sovereign_ext.keystore.service import Keys
from sovereign_ext.keystore.service import Prepared as PreparedKeys
from sovereign_ext.management.jwks import issuers
from sovereign_ext.management.oidc import Issuers, Tokens
from sovereign_ext.observing import Observing
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.vouching import Prepared, Vouching
from sovereign_ext.webhook.hook import Hook, hooks
from sovereign_ext.webhook.service import Webhooks

_log = logging.getLogger(__name__)

_PRUNE_LOOK_S: Final = 0.5
_RESTART: Final = ("origin", "limits", "ingress", "storage")
"""Fields that are read once, at the start."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A configuration that can be taken up, and all that was made of it."""

    loaded: Loaded
    snapshot: Snapshot
    vouching: Prepared
    keys: PreparedKeys
    hooks: tuple[Hook, ...]


@dataclass(frozen=True, slots=True)
class Followers:
    """Everything in a processor that goes by the configuration in use."""

    live: Live
    envoy: EnvoyFiles
    health: Health
    directory: Directory
    tokens: Tokens
    keys: Keys
    vouching: Vouching
    webhooks: Webhooks
    observing: Observing


class Succession:
    """Belongs to one event loop, ``prepare`` apart.

    ``read_secret`` reads what a field of the configuration names; ``in_flight`` are the snapshots of calls under way;
    ``told`` are the webhooks in use.
    """

    def __init__(
        self,
        followers: Followers,
        read_secret: Callable[[SecretSource, str], Secret],
        in_flight: Callable[[], Iterable[Snapshot]],
        told: tuple[Hook, ...],
    ) -> None:
        self._of = followers
        self._read_secret = read_secret
        self._in_flight = in_flight
        self._told = told
        self._mended: tuple[str, tuple[ConfigError, ...]] = ("", ())  # the last good edit, the faults it ends
        self._pruning: asyncio.Task[None] | None = None

    def prepare(self, loaded: Loaded) -> Ready:
        """Check everything that can be wrong with it. On a thread: checking a thousand statements takes a second, in
        which no call would go on. Raises ``ConfigError``."""
        _refuse_restart_changes(self._of.live.snapshot.config, loaded.config)
        refuse_clashes(self._of.directory, loaded.config)
        issuers_of(loaded)  # raises what is wrong with them
        prepare_scanners(loaded.config.policies)
        return Ready(
            loaded,
            self._of.live.prepare(loaded),
            self._of.vouching.prepare(loaded),
            self._of.keys.prepare(loaded.config),
            hooks(loaded.config.findings, loaded.files.__getitem__, self._read_secret, self._told),
        )

    async def take_up(self, ready: Ready) -> bool:
        """Use it from now on; ``False`` if that is not possible, and everything is as it was."""
        self.stop()
        if not await self._offered(ready):
            return False
        of, loaded = self._of, ready.loaded
        snapshot = of.live.use(ready.snapshot, self._remaining_faults(loaded))
        of.observing.reloaded(True)
        of.directory.follow(snapshot.config)
        of.tokens.use(issuers_of(loaded), loaded.config.oidc.clock_skew_s)
        of.keys.use(ready.keys)
        try:
            await of.vouching.follow(loaded, ready.vouching)
        except LogError as error:
            _log.error("the log's witnesses stay as they were: %s", error)
        try:
            await of.webhooks.follow(ready.hooks)
            self._told = ready.hooks
        except LogError as error:
            _log.error("webhooks stay as they were: %s", error)
        of.health.follow(snapshot)
        _log.info("configuration %d in use", snapshot.version)
        self._pruning = asyncio.create_task(self._prune(loaded, snapshot))
        return True

    def edited(self, digest: str) -> None:
        """An edit of the file, of this digest, was read and checked: taking it up ends the faults there are now."""
        self._mended = (digest, self._of.live.faults)

    def refuse(self, error: ConfigError) -> None:
        """A configuration that cannot be used: the one in use stays, and it is said why."""
        self._of.live.refuse(error)
        self._of.observing.reloaded(False)
        for line in str(error).splitlines():
            _log.error("configuration not used: %s", line)

    def stop(self) -> None:
        """Nothing is taken from Envoy any more."""
        if self._pruning is not None:
            self._pruning.cancel()

    async def _offered(self, ready: Ready) -> bool:
        """Whether entries can refer to it and Envoy knows its providers; those of calls under way stay there."""
        of, loaded = self._of, ready.loaded
        try:
            await of.vouching.keep(ready.snapshot)
        except LogError as error:
            self.refuse(ConfigError(f"what it refers to cannot be kept: {error}"))
            return False
        in_use = [of.live.snapshot, *self._in_flight()]
        configs = {id(snapshot): snapshot.config for snapshot in in_use}.values()
        of.envoy.give(item for config in (*configs, loaded.config) for item in config.providers)
        if await of.envoy.taken_up() is False:
            self.refuse(ConfigError("Envoy did not take up the providers within 10 s"))
            return False
        return True

    def _remaining_faults(self, loaded: Loaded) -> tuple[ConfigError, ...]:
        """Those of an edit that is later than ``loaded``."""
        faults = self._of.live.faults
        edit, ended = self._mended
        return () if loaded.file_digest == edit and faults is ended else faults

    async def _prune(self, loaded: Loaded, snapshot: Snapshot) -> None:
        """Take from Envoy what only calls of earlier configurations needed, when the last of those is over."""
        # Polled, because a hook on every call's end would cost calls something for a rare reload.
        while any(each is not snapshot for each in self._in_flight()):  # noqa: ASYNC110
            await asyncio.sleep(_PRUNE_LOOK_S)
        self._of.envoy.give(loaded.config.providers)


def issuers_of(loaded: Loaded) -> Issuers:
    """Who issues the tokens of operators. Raises ``ConfigError``."""
    return issuers(loaded.config.oidc, {each.path: each.raw for each in loaded.documents}, time.monotonic)


def _refuse_restart_changes(old: Config, new: Config) -> None:
    for field in _RESTART:
        if getattr(old, field) != getattr(new, field):
            raise ConfigError(
                "changing this needs a restart; the last good configuration stays in use", field=field
            )
