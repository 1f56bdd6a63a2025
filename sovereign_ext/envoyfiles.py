"""Envoy's files of a running processor: written at the start, and the providers again with every configuration.

What Envoy is given carries a version; whether it serves that is asked at its admin socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from sovereign_ext.config.load import base_of
from sovereign_ext.config.model import Config, Provider
from sovereign_ext.envoyconf import names, render
from sovereign_ext.envoyconf.admin import EnvoyAdmin
from sovereign_ext.envoyconf.clusters import system_roots
from sovereign_ext.envoyconf.layout import Edge, Layout
from sovereign_ext.management import descriptor
from sovereign_ext.settings import Settings

_ROUNDS: Final = 200  # looks of 50 ms each


class EnvoyFiles:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._layout = layout(settings, config)
        self._listens = settings.listen_port is not None
        self._admin = EnvoyAdmin(str(settings.admin_socket))
        self._life = os.urandom(4).hex()  # Envoy may still run with what an earlier process gave it
        self._given = 0

    def begin(self, providers: Iterable[Provider]) -> None:
        """Write everything that Envoy starts on. The bootstrap comes last: Envoy wants the other files with it."""
        self.give(providers)
        render.write_shared(self._layout)
        if self._listens:
            render.write_static(self._layout)

    def give(self, providers: Iterable[Provider]) -> None:
        """Have Envoy serve these and no others; what stands twice is given once."""
        self._given += 1
        unique = {names.provider_cluster(item): item for item in providers}
        render.write_providers(self._layout, list(unique.values()), self._version)

    async def taken_up(self) -> bool | None:
        """Whether Envoy comes to serve what it was last given; ``None`` if there is no Envoy yet."""
        return await self._admin.serves(self._version, rounds=_ROUNDS)

    @property
    def _version(self) -> str:
        return f"{self._life}.{self._given}"


def layout(settings: Settings, config: Config, edge: Edge | None = None) -> Layout:
    """Where Envoy finds everything; ``edge`` if its clients are strangers."""
    return Layout(
        directory=settings.envoy_dir.absolute(),
        config_directory=base_of(settings.config_file.absolute()),
        processor_socket=str(settings.processor_socket.absolute()),
        management_socket=str(settings.management_socket.absolute()),
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
