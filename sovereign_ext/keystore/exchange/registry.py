"""Which provider kinds take something else than what is stored: a line for each."""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.keystore.base import Minter
from sovereign_ext.keystore.http import Surroundings

MINTERS: Final = {
    ProviderKind.BEDROCK: "sovereign_ext.keystore.exchange.aws:AwsMinter",
    ProviderKind.VERTEX: "sovereign_ext.keystore.exchange.google:GoogleMinter",
}


class ExchangeMinter(Minter, Protocol):
    """A ``Minter`` that holds connections."""

    async def aclose(self) -> None:
        """Let go of them."""


def build_minter(kind: ProviderKind, around: Surroundings) -> ExchangeMinter | None:
    """The minter of ``kind``; ``None`` if what is stored is what a call uses. Raises ``ConfigError``."""
    place = MINTERS.get(kind)
    if place is None:
        return None
    module, _, name = place.partition(":")
    minter: ExchangeMinter = getattr(import_module(module), name).from_surroundings(around)
    return minter
