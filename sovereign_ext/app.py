"""The composition root: the one place where the processor's objects are made and tied together.

Start, in order: configuration, Envoy's files, log, everything that goes by the configuration, gRPC servers, ready. How
a later configuration takes the place of an earlier one is ``succession``'s matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.config.listprices import with_list_prices
from sovereign_ext.config.live import Live, watch
from sovereign_ext.config.load import Loaded, base_of
from sovereign_ext.config.model import Config
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.effective import Effective, load_with_resources
from sovereign_ext.enrolment import Enrolment, refuse_clashes
from sovereign_ext.envoyfiles import EnvoyFiles
from sovereign_ext.errors import ConfigError, LogUnavailable
from sovereign_ext.exchange.leaks import fingerprints, prepare_scanners
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.server import ProcessorServer
from sovereign_ext.keystore.service import Keys, Place
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.limiting import Limiting, SharedLimiting
from sovereign_ext.management import descriptor
from sovereign_ext.management.oidc import Tokens
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
from sovereign_ext.succession import Followers, Succession, issuers_of
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHashes
from sovereign_ext.tlog.service import LogPaths, SharedLog, TransparencyLog
from sovereign_ext.vouching import Vouching
from sovereign_ext.webhook.hook import Hook, hooks
from sovereign_ext.webhook.service import Webhooks

_log = logging.getLogger(__name__)

_EVIDENCE_WAIT_S: Final = 2.0  # at start, so that the first call need not fail for want of a first look
_MANAGEMENT_GRACE_S: Final = 1.0  # health watchers never end by themselves


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
        self._base = base_of(settings.config_file)
        self._health = Health()
        self._shared_log: SharedLog | None = None
        self._feed: Feed | None = None
        self._tasks: list[asyncio.Task[None]] = []
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
        self._shared_log = shared_log(loaded.config.storage, self._base, self._environ)
        self._make(loaded)
        vouched = self._vouching.prepare(loaded)
        told = hooks(loaded.config.findings, loaded.files.__getitem__, self._read_secret, ())
        self._know_callers(loaded.config)
        scanners = asyncio.ensure_future(asyncio.to_thread(prepare_scanners, loaded.config.policies))
        self._envoy = EnvoyFiles(settings, loaded.config)
        self._envoy.begin(loaded.config.providers)
        await self._open_log(loaded.config)
        self._webhooks = Webhooks.of(self._transparency, self._read_secret)
        self._follow_changes(loaded, told)
        await asyncio.to_thread(self._keys.stored.load, self._transparency.resources)
        await self._enrol()
        await self._hear_of_others()
        await self._vouching.keep(self._live.snapshot)
        await self._vouching.follow(loaded, vouched)
        await self._webhooks.follow(told)
        await self._vouching.evidence.start()
        self._limiting = await self._limits(loaded.config)
        await scanners
        self._gateway = self._decide()
        self._limiting.start(self._gateway.exchanges.__contains__)
        await self._observe()
        if settings.admin_socket.exists() and await self._envoy.taken_up() is False:
            _log.warning("the Envoy that runs did not take up the providers within 10 s")
        self._keys.start()
        await self._serve(loaded.config)
        if not await self._vouching.evidence.ready(_EVIDENCE_WAIT_S):
            _log.warning("not every provider has shown evidence yet; `sovereign status` says why")
        self._stay_in_step(loaded)
        settings.ready_file.write_text(f"{os.getpid()}\n")

    def _make(self, loaded: Loaded) -> None:
        """What is in memory only. Raises ``ConfigError``."""
        config = loaded.config
        self._vouching = Vouching(
            lambda: self._transparency, str(self._settings.config_file), lambda: self._connect(config)
        )
        self._live = Live(loaded, routable, self._vouching.registry, _with_list_prices)
        self._observing = Observing(lambda: self._live.snapshot)
        self._tokens = Tokens(time.time)
        self._tokens.use(issuers_of(loaded), config.oidc.clock_skew_s)
        self._health.follow(self._live.snapshot)

    def _know_callers(self, config: Config) -> None:
        """Tenants of the file, and provider keys. A first start makes secrets, so everything else has been checked."""
        settings = self._settings
        self._hashes = _key_hashes(settings, config, self._environ)
        self._directory = Directory.of(config, self._hashes)
        place, patience_s = Place(self._base, settings.state_dir), settings.message_timeout.total_seconds()
        self._keys = Keys(config, place, self._environ, patience_s)

    async def _open_log(self, config: Config) -> None:
        self._transparency = await TransparencyLog.open(
            self._settings.log_dir,
            config.origin,
            clock=lambda: moment().wall_ms,
            checkpoint_dir=self._settings.signed_dir,
            shared=self._shared_log,
        )
        await self._transparency.record_keys()

    def _follow_changes(self, loaded: Loaded, told: tuple[Hook, ...]) -> None:
        """From now on a change in the database is heard of; it is taken up once ``_stay_in_step`` was called."""
        followers = Followers(
            live=self._live,
            envoy=self._envoy,
            health=self._health,
            directory=self._directory,
            tokens=self._tokens,
            keys=self._keys,
            vouching=self._vouching,
            webhooks=self._webhooks,
            observing=self._observing,
        )
        self._succession = Succession(
            followers,
            self._read_secret,
            lambda: (exchange.snapshot for exchange in self._gateway.exchanges.values()),
            told,
        )
        self._effective = Effective(
            loaded, self._transparency.resources, self._succession.prepare, self._succession.take_up
        )
        self._transparency.on_change(self._effective.notice)
        self._transparency.on_change(self._keys.stored.notice)

    def _decide(self) -> Gateway:
        """Who decides about calls."""
        settings = self._settings
        return Gateway(
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

    async def _observe(self) -> None:
        parts = Parts(
            log=self._transparency,
            health=self._health,
            faults=lambda: len(self._live.faults) + len(self._effective.in_use.faults),
            in_flight=self._gateway.exchanges.__len__,
            shared=self._limiting.status,
            draining=lambda: self._draining,
        )
        await self._observing.start(parts, self._settings.metrics_listen)

    def _stay_in_step(self, loaded: Loaded) -> None:
        """Follow the file and the database until the stop."""
        follower = watch(
            self._settings.config_file,
            on_change=self._changed,
            on_faults=self._succession.refuse,
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

    async def _changed(self, loaded: Loaded) -> None:
        await self._effective.file_changed(loaded)
        self._succession.edited(loaded.file_digest)

    def _read_secret(self, source: SecretSource, field: str) -> Secret:
        return read_secret(source, self._base, self._environ, field)

    def _open_database(self, foundation: Config) -> Engine | None:
        settings, storage = self._settings, foundation.storage
        if storage.database is None and not LogPaths.of(settings.log_dir).database.exists():
            return None  # a first start: opening would make the file, and the log take that for lost keys
        return self._connect(foundation)

    def _connect(self, config: Config) -> Engine:
        return open_engine(config.storage, self._base, self._settings.log_dir, self._environ)

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
        refuse_clashes(self._directory, self._live.snapshot.config)

    async def _limits(self, config: Config) -> Limiting | SharedLimiting:
        storage = config.storage
        url = shared_url(storage, self._base, self._environ)
        if url is None or storage.shared is None:
            return await Limiting.open(self._settings.state_dir, self._transparency, lambda: moment().wall_ms)
        roots = read_roots(
            storage.shared.ca_file, lambda name: (self._base / name).read_bytes(), "storage.shared.ca_file"
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
        for task in self._tasks:
            task.cancel()
        self._succession.stop()
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


def _key_hashes(settings: Settings, config: Config, environ: Mapping[str, str]) -> KeyHashes:
    base = base_of(settings.config_file)
    secret = key_hash_secret(config.storage, base, settings.state_dir, environ, os.urandom)
    try:
        return KeyHashes.from_text(secret)
    except ValueError as error:
        raise ConfigError(str(error), field="storage.key_hash") from None


def _report_end(task: asyncio.Task[None]) -> None:
    """A follower that ended by itself means that changes go unnoticed: say so."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("%s: not followed any more", task.get_name(), exc_info=task.exception())
