"""Envoy's files of a running processor: written at the start, and the providers again with every configuration.

What Envoy is given carries a version; whether it serves that is asked at its admin socket. Several workers that share
an Envoy take up a configuration one after the other, so it is given what any of them needs: each leaves its part in a
file, and whoever writes reads the parts of all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import TypeAdapter

from sovereign_ext.config.load import base_of
from sovereign_ext.config.model import Config, Provider
from sovereign_ext.envoyconf import names, render
from sovereign_ext.envoyconf.admin import EnvoyAdmin
from sovereign_ext.envoyconf.clusters import system_roots
from sovereign_ext.envoyconf.layout import Edge, Layout
from sovereign_ext.management import descriptor
from sovereign_ext.settings import Settings

_ROUNDS: Final = 200  # looks of 50 ms each
_PROVIDERS: Final = TypeAdapter(list[Provider])


class EnvoyFiles:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._layout = layout(settings, config)
        self._settings = settings
        self._admin = EnvoyAdmin(str(settings.admin_socket))
        self._life = os.urandom(4).hex()  # Envoy may still run with what an earlier process gave it
        self._given = 0

    def begin(self, providers: Iterable[Provider]) -> None:
        """Write everything that Envoy starts on. The bootstrap comes last: Envoy wants the other files with it.

        Of several workers the first does; what they would write is the same.
        """
        self.give(providers)
        if self._settings.worker > 1:
            return
        render.write_shared(self._layout)
        if self._settings.listen_port is not None:
            render.write_static(self._layout)

    def give(self, providers: Iterable[Provider]) -> None:
        """Have Envoy serve these and no others; what stands twice is given once."""
        self._given += 1
        with self._alone():
            unique = {names.provider_cluster(item): item for item in self._shared(list(providers))}
            render.write_providers(self._layout, list(unique.values()), f"{self._life}.{self._given}")

    async def taken_up(self) -> bool | None:
        """Whether Envoy comes to serve what it was last given; ``None`` if there is no Envoy yet."""
        return await self._admin.serves(lambda: render.version_of(self._layout), rounds=_ROUNDS)

    def _shared(self, own: list[Provider]) -> list[Provider]:
        """``own`` and what other workers want, who from now on know of ``own``."""
        if self._settings.workers == 1:
            return own
        parts = self._settings.parts_dir
        (parts / f"{self._settings.worker}.json").write_bytes(_PROVIDERS.dump_json(own))
        others = sorted(parts.glob("*.json"))
        return [item for part in others for item in _PROVIDERS.validate_json(part.read_bytes())]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other worker writes meanwhile."""
        if self._settings.workers == 1:
            yield
            return
        parts = self._settings.parts_dir
        parts.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (parts / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def layout(settings: Settings, config: Config, edge: Edge | None = None) -> Layout:
    """Where Envoy finds everything; ``edge`` if its clients are strangers."""
    return Layout(
        directory=settings.envoy_dir.absolute(),
        config_directory=base_of(settings.config_file.absolute()),
        processor_sockets=tuple(str(each.processor_socket.absolute()) for each in settings.each_worker),
        management_sockets=tuple(str(each.management_socket.absolute()) for each in settings.each_worker),
        admin_socket=str(settings.admin_socket.absolute()),
        listen_host=settings.listen_host,
        listen_port=settings.listen_port or 0,
        max_request_bytes=config.limits.max_request_bytes,
        ingress=config.ingress,
        edge=edge,
        roots=settings.roots or system_roots(),
        message_timeout=settings.message_timeout,
        transcoder=descriptor.transcoder(),
        management_routes=tuple(
            (route.http_method, route.path, route.regex) for route in descriptor.routes()
        ),
        streamed=frozenset(route.regex for route in descriptor.routes() if route.streamed),
    )
