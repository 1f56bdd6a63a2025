"""The composition root: the one place where the processor's objects are made and tied together.

Start, in order: configuration, log, Envoy's files, gRPC server, ready. A new configuration takes effect in three
steps, so that no stream is dropped and no call is planned for a cluster that Envoy does not know:

1. Envoy is given the providers of the new file and of every call in flight together.
2. When it serves them, new calls get the new snapshot; calls in flight keep the one they took.
3. When the last of those is over, Envoy is given the new file's providers alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.config.listprices import with_list_prices
from sovereign_ext.config.live import Live, watch
from sovereign_ext.config.load import Loaded, base_of
from sovereign_ext.config.model import Config
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.effective import Effective, load_with_resources
from sovereign_ext.enrolment import Enrolment
from sovereign_ext.envoyfiles import EnvoyFiles
from sovereign_ext.errors import ConfigError, LogError, LogUnavailable
from sovereign_ext.exchange.leaks import fingerprints, prepare_scanners
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.server import ProcessorServer
from sovereign_ext.keystore.service import Keys, Place
from sovereign_ext.keystore.service import Prepared as PreparedKeys
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.limiting import Limiting, SharedLimiting
from sovereign_ext.management import descriptor
from sovereign_ext.management.jwks import issuers
from sovereign_ext.management.oidc import Issuers, Tokens
from sovereign_ext.management.server import Deps, health_server, management_server
from sovereign_ext.media.fetch import MediaFetcher
from sovereign_ext.observing import Observing, Parts
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.roots import read_roots, tls_context
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.settings import Settings
from sovereign_ext.shared.address import parse as shared_address
from sovereign_ext.storage.feed import Feed
from sovereign_ext.storing import key_hash_secret, open_engine, read_secret, shared_log, shared_url
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHashes
from sovereign_ext.tlog.service import LogPaths, SharedLog, TransparencyLog
from sovereign_ext.vouching import Prepared, Vouching
from sovereign_ext.webhook.hook import Hook, hooks
from sovereign_ext.webhook.service import Webhooks

_log = logging.getLogger(__name__)

_PRUNE_LOOK_S: Final = 0.5
_EVIDENCE_WAIT_S: Final = 2.0  # at start, so that the first call need not fail for want of a first look
_MANAGEMENT_GRACE_S: Final = 1.0  # health watchers never end by themselves


@dataclass(frozen=True, slots=True)
class Ready:
    """A configuration that can be taken up, and all that was made of it."""

    loaded: Loaded
    snapshot: Snapshot
    vouching: Prepared
    keys: PreparedKeys
    hooks: tuple[Hook, ...]


def moment() -> Moment:
    """The time, at the edge."""
    return Moment(time.monotonic(), time.time_ns() // 1_000_000)


def _with_list_prices(config: Config) -> Config:
    return with_list_prices(config, datetime.now(UTC))


class Processor:
    """A running processor. ``start``, then ``wait`` until ``stop`` is called."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._health = Health()
        self._shared_log: SharedLog | None = None
        self._feed: Feed | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._pruning: asyncio.Task[None] | None = None
        self._mended: tuple[str, tuple[ConfigError, ...]] = ("", ())  # the last good edit, the faults it ends
        self._told: tuple[Hook, ...] = ()
        self._draining = False
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Come up. Raises ``ConfigError``, ``LogError`` or ``OSError`` if that is not possible."""
        try:
            await self._come_up()
        except BaseException:
            if self._shared_log is not None:
                await asyncio.to_thread(self._shared_log.engine.dispose)
            raise

    async def _come_up(self) -> None:
        settings = self._settings
        settings.ready_file.unlink(missing_ok=True)  # of one that was killed
        loaded = load_with_resources(settings.config_file, self._open_database)
        self._shared_log = shared_log(loaded.config.storage, base_of(settings.config_file), self._environ)
        self._vouching = Vouching(
            lambda: self._transparency, str(settings.config_file), lambda: self._connect(loaded.config)
        )
        self._live = Live(loaded, routable, self._vouching.registry, _with_list_prices)
        self._observing = Observing(lambda: self._live.snapshot)
        self._tokens = Tokens(time.time)
        self._tokens.use(_issuers(loaded), loaded.config.oidc.clock_skew_s)
        prepared = self._vouching.prepare(loaded)
        self._told = self._hooks(loaded)
        self._hashes = _key_hashes(settings, loaded.config, self._environ)
        self._directory = Directory.of(loaded.config, self._hashes)
        self._keys = Keys(
            loaded.config,
            Place(base_of(settings.config_file), settings.state_dir),
            self._environ,
            settings.message_timeout.total_seconds(),
        )
        scanners = asyncio.ensure_future(asyncio.to_thread(prepare_scanners, loaded.config.policies))
        self._health.follow(self._live.snapshot)
        self._envoy = EnvoyFiles(settings, loaded.config)
        self._envoy.begin(loaded.config.providers)
        self._transparency = await TransparencyLog.open(
            settings.log_dir,
            loaded.config.origin,
            clock=lambda: moment().wall_ms,
            checkpoint_dir=settings.signed_dir,
            shared=self._shared_log,
        )
        await self._transparency.record_keys()
        self._effective = Effective(loaded, self._transparency.resources, self._prepare, self._take_up)
        self._transparency.on_change(self._effective.notice)
        self._transparency.on_change(self._keys.stored.notice)
        await asyncio.to_thread(self._keys.stored.load, self._transparency.resources)
        await self._enrol()
        await self._hear_of_others()
        await self._vouching.keep(self._live.snapshot)
        await self._vouching.follow(loaded, prepared)
        self._webhooks = Webhooks.of(self._transparency, self._read_secret)
        await self._webhooks.follow(self._told)
        await self._vouching.evidence.start()
        self._limiting = await self._limits(loaded.config)
        await scanners
        self._gateway = Gateway(
            snapshot=lambda: self._live.snapshot,
            directory=self._directory,
            health=self._health,
            log=self._transparency,
            ledger=self._limiting.ledger,
            attestations=Attestations(self._transparency.origin, self._transparency.log_id),
            keystore=self._keys.chain,
            media=MediaFetcher(tls_context(None)),
            adapters=ADAPTERS,
            clock=moment,
            random=os.urandom,
            management_methods=descriptor.methods_of,
            key_use=self._key_use,
            fingerprint=fingerprints(self._hashes.current.digest),
            tell=self._observing.tell,
            patience=settings.message_timeout,
            worker=settings.worker if settings.workers > 1 else None,
        )
        self._limiting.start(self._gateway.exchanges.__contains__)
        await self._observing.start(
            Parts(
                log=self._transparency,
                health=self._health,
                faults=lambda: len(self._live.faults) + len(self._effective.in_use.faults),
                in_flight=self._gateway.exchanges.__len__,
                shared=self._limiting.status,
                draining=lambda: self._draining,
            ),
            settings.metrics_listen,
        )
        if settings.admin_socket.exists() and await self._envoy.taken_up() is False:
            _log.warning("the Envoy that runs did not take up the providers within 10 s")
        self._keys.start()
        await self._serve(loaded.config)
        if not await self._vouching.evidence.ready(_EVIDENCE_WAIT_S):
            _log.warning("not every provider has shown evidence yet; `sovereign status` says why")
        follower = watch(
            settings.config_file,
            on_change=self._changed,
            on_faults=self._faulty,
            known=loaded.file_digest,
            stored=lambda: self._effective.stored,
        )
        for name, work in (
            ("configuration file", follower),
            ("configuration", self._effective.run()),
            ("provider keys", self._keys.stored.run(self._transparency.resources, self._keys.chain.forget)),
            ("directory", self._enrolment.run()),
            ("last uses", self._key_use.run()),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(_report_end)
            self._tasks.append(task)
        settings.ready_file.write_text(f"{os.getpid()}\n")

    def _open_database(self, foundation: Config) -> Engine | None:
        settings, storage = self._settings, foundation.storage
        if storage.database is None and not LogPaths.of(settings.log_dir).database.exists():
            return None  # a first start: opening would make the file, and the log take that for lost keys
        return self._connect(foundation)

    def _connect(self, config: Config) -> Engine:
        base = base_of(self._settings.config_file)
        return open_engine(config.storage, base, self._settings.log_dir, self._environ)

    async def _hear_of_others(self) -> None:
        """Routers that share the database tell each other of changes; a single one is told by ``on_change`` alone."""
        if self._shared_log is None:
            return
        self._feed = Feed(self._shared_log.engine)
        try:
            await self._feed.start()
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot follow changes: {type(error).__name__}") from None
        self._feed.follow(lambda _: self._effective.notice())
        self._feed.follow(lambda _: self._enrolment.changed())
        self._feed.follow(lambda _: self._keys.stored.notice())

    async def _enrol(self) -> None:
        """Everybody that the database has, before the first call."""
        store = self._transparency.resources
        self._key_use = KeyUse(store)
        self._enrolment = Enrolment(self._directory, store)
        self._transparency.on_change(self._enrolment.changed)
        try:
            await asyncio.to_thread(self._enrolment.load)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read tenants and keys: {type(error).__name__}") from None
        self._refuse_clashes(self._live.snapshot.config)

    async def _limits(self, config: Config) -> Limiting | SharedLimiting:
        settings, storage, base = self._settings, config.storage, base_of(self._settings.config_file)
        url = shared_url(storage, base, self._environ)
        if url is None or storage.shared is None:
            return await Limiting.open(settings.state_dir, self._transparency, lambda: moment().wall_ms)
        roots = read_roots(
            storage.shared.ca_file, lambda name: (base / name).read_bytes(), "storage.shared.ca_file"
        )
        address = shared_address(url, roots)
        return await SharedLimiting(
            address, self._transparency, self._health, lambda: moment().wall_ms
        ).open()

    async def _serve(self, config: Config) -> None:
        settings = self._settings
        for path in (settings.processor_socket, settings.management_socket):
            path.unlink(missing_ok=True)
        deps = Deps(
            snapshot=lambda: self._live.snapshot,
            directory=self._directory,
            tokens=self._tokens,
            now=time.time,
            monotonic=time.monotonic,
            faults=lambda: self._live.faults,
            health=self._health,
            log=self._transparency,
            paths=LogPaths.of(settings.log_dir, settings.signed_dir),
            draining=lambda: self._draining,
            evidence=self._vouching.evidence.status,
            anchors=self._vouching.anchors,
            webhooks=self._webhooks.statuses,
            random=os.urandom,
            effective=self._effective,
            sealing=lambda: self._keys.database,
            key_hashes=self._hashes,
            applied=self._enrolment.applied,
            key_use=self._key_use,
            ledger=self._limiting.ledger,
            exposition=self._observing.exposition,
            shared=self._limiting.status,
        )
        self._management = management_server(deps, f"unix:{settings.management_socket}")
        await self._management.start()
        settings.management_socket.chmod(0o600)
        largest = max(config.limits.max_request_bytes, config.limits.max_response_bytes)
        self._server = ProcessorServer(self._gateway, largest)
        await self._server.start(settings.processor_socket)
        self._probes = (
            None if settings.health_listen is None else health_server(deps, *settings.health_listen)
        )
        if self._probes is not None:
            await self._probes.start()

    async def wait(self) -> None:
        await self._stopped.wait()

    async def stop(self) -> None:
        """Finish calls in flight (for a bounded time), make the log's last batch durable, let go."""
        if self._draining:
            return
        self._draining = True
        self._settings.ready_file.unlink(missing_ok=True)
        for task in (*self._tasks, self._pruning):
            if task is not None:
                task.cancel()
        await self._server.stop(self._settings.drain_s)
        await self._management.stop(_MANAGEMENT_GRACE_S)
        await self._observing.stop()
        await self._gateway.drain()
        with contextlib.suppress(SQLAlchemyError):
            await self._key_use.flush()
        await self._keys.stop()
        await self._vouching.stop()
        await self._webhooks.stop()
        await self._limiting.stop()
        if self._feed is not None:
            await self._feed.stop()
        await self._transparency.close()
        if self._shared_log is not None:
            await asyncio.to_thread(self._shared_log.engine.dispose)
        if self._probes is not None:
            await self._probes.stop(None)
        self._stopped.set()

    # -- a new configuration -------------------------------------------------------------------------------

    async def _changed(self, loaded: Loaded) -> None:
        await self._effective.file_changed(loaded)
        self._mended = (loaded.file_digest, self._live.faults)

    def _prepare(self, loaded: Loaded) -> Ready:
        """On a thread: checking a thousand statements takes a second, in which no call would go on."""
        _refuse_restart_changes(self._live.snapshot.config, loaded.config)
        self._refuse_clashes(loaded.config)
        _issuers(loaded)  # raises what is wrong with them
        prepare_scanners(loaded.config.policies)
        return Ready(
            loaded,
            self._live.prepare(loaded),
            self._vouching.prepare(loaded),
            self._keys.prepare(loaded.config),
            self._hooks(loaded),
        )

    def _hooks(self, loaded: Loaded) -> tuple[Hook, ...]:
        return hooks(loaded.config.findings, loaded.files.__getitem__, self._read_secret, self._told)

    def _read_secret(self, source: SecretSource, field: str) -> Secret:
        return read_secret(source, base_of(self._settings.config_file), self._environ, field)

    def _refuse_clashes(self, config: Config) -> None:
        clashes = self._directory.clashes(config)
        if clashes:
            named = ", ".join(clashes[:5]) + (", ..." if len(clashes) > 5 else "")
            raise ConfigError(
                f"{named}: the management API made it; a name belongs to the file or to the API"
            )

    def _faulty(self, error: ConfigError) -> None:
        self._live.refuse(error)
        self._observing.reloaded(False)
        for line in str(error).splitlines():
            _log.error("configuration not used: %s", line)

    async def _take_up(self, ready: Ready) -> bool:
        loaded, snapshot = ready.loaded, ready.snapshot
        if self._pruning is not None:
            self._pruning.cancel()
        try:
            await self._vouching.keep(snapshot)
        except LogError as error:
            self._faulty(ConfigError(f"what it refers to cannot be kept: {error}"))
            return False
        in_use = [self._live.snapshot, *(exchange.snapshot for exchange in self._gateway.exchanges.values())]
        configs = {id(snapshot): snapshot.config for snapshot in in_use}.values()
        self._envoy.give(item for config in (*configs, loaded.config) for item in config.providers)
        if await self._envoy.taken_up() is False:
            self._faulty(ConfigError("Envoy did not take up the providers within 10 s"))
            return False
        faults = self._live.faults  # new ones are those of a later edit, and stay
        edit, ended = self._mended
        mended = loaded.file_digest == edit and faults is ended
        snapshot = self._live.use(snapshot, () if mended else faults)
        self._observing.reloaded(True)
        self._directory.follow(snapshot.config)
        self._tokens.use(_issuers(loaded), loaded.config.oidc.clock_skew_s)
        self._keys.use(ready.keys)
        try:
            await self._vouching.follow(loaded, ready.vouching)
        except LogError as error:
            _log.error("the log's witnesses stay as they were: %s", error)
        try:
            await self._webhooks.follow(ready.hooks)
            self._told = ready.hooks
        except LogError as error:
            _log.error("webhooks stay as they were: %s", error)
        self._health.follow(snapshot)
        _log.info("configuration %d in use", snapshot.version)
        self._pruning = asyncio.create_task(self._prune(loaded, snapshot))
        return True

    async def _prune(self, loaded: Loaded, snapshot: Snapshot) -> None:
        """Take from Envoy what only calls of earlier configurations needed, when the last of those is over."""
        # Polled, because a hook on every call's end would cost calls something for a rare reload.
        while any(  # noqa: ASYNC110
            exchange.snapshot is not snapshot for exchange in self._gateway.exchanges.values()
        ):
            await asyncio.sleep(_PRUNE_LOOK_S)
        self._envoy.give(loaded.config.providers)


def _key_hashes(settings: Settings, config: Config, environ: Mapping[str, str]) -> KeyHashes:
    base = base_of(settings.config_file)
    secret = key_hash_secret(config.storage, base, settings.state_dir, environ, os.urandom)
    try:
        return KeyHashes.from_text(secret)
    except ValueError as error:
        raise ConfigError(str(error), field="storage.key_hash") from None


def _issuers(loaded: Loaded) -> Issuers:
    return issuers(loaded.config.oidc, {each.path: each.raw for each in loaded.documents}, time.monotonic)


def _report_end(task: asyncio.Task[None]) -> None:
    """A follower that ended by itself means that changes go unnoticed: say so."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("%s: not followed any more", task.get_name(), exc_info=task.exception())


def _refuse_restart_changes(old: Config, new: Config) -> None:
    for field in ("origin", "limits", "ingress", "storage"):
        if getattr(old, field) != getattr(new, field):
            raise ConfigError(
                "changing this needs a restart; the last good configuration stays in use", field=field
            )
