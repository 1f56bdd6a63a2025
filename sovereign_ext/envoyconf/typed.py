"""From typed models to plain data, with the names that Envoy's own documentation uses (snake_case)."""

from __future__ import annotations

from pathlib import Path
from typing import Any as Json
from typing import Protocol

from envoy_data_plane.envoy.config.core.v3 import ConfigSource, PathConfigSource, WatchedDirectory


class Message(Protocol):
    """A model of envoy-data-plane."""

    def to_dict(self, *, casing: type[str]) -> dict[str, Json]: ...


def plain(message: Message) -> dict[str, Json]:
    """The message as Envoy reads it from YAML or JSON; fields that have their default are left out."""
    return message.to_dict(casing=str)


def followed(file: Path) -> ConfigSource:
    """A file of xDS resources, read again whenever something is renamed into its directory."""
    return ConfigSource(
        path_config_source=PathConfigSource(
            path=str(file), watched_directory=WatchedDirectory(path=str(file.parent))
        )
    )
