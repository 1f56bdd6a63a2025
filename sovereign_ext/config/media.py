"""The block ``media`` of the configuration file: whether pictures that a request names by URL are fetched."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from sovereign_ext.config.trust import Frozen

HOST_PATTERN: Final = r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"

Host = Annotated[str, StringConstraints(pattern=HOST_PATTERN, max_length=253)]
"""A host's name in lower case, or ``*.`` and a name for every host below it."""


class Media(Frozen):
    """Fetching for providers that take pictures as bytes only. ``max_bytes`` and ``timeout_ms`` are for all the
    pictures of one attempt together; with empty ``hosts`` every public host may be asked."""

    fetch: bool = False
    hosts: tuple[Host, ...] = ()
    max_bytes: int = Field(default=20 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    timeout_ms: int = Field(default=5_000, ge=1, le=8_000)  # less than Envoy's patience with one message

    def allows(self, host: str) -> bool:
        """Whether ``host`` (ASCII, as a URL has it) may be asked."""
        name = host.lower().rstrip(".")
        return not self.hosts or any(
            name.endswith(each[1:]) if each.startswith("*.") else name == each for each in self.hosts
        )
