"""What the chain is made of, and one search along it. Nothing is kept here.

Whose key is used, stated once (ADR 0011):

1. The tenant's own key: local file, environment, services, in this order; the first that has one.
2. A shared key (tenant ``*``), in the same order.
3. What ``providers[].credential`` names.
4. None of these: the provider is called without a key, unless its kind cannot be.

A link that cannot be asked ends the search: whose key comes next would be another account's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sovereign_ext.config.model import Provider
from sovereign_ext.keystore.base import SHARED, CredentialMissingError, Minter, Source
from sovereign_ext.keystore.declared import Declared
from sovereign_ext.secret import Secret

KEYED: Final = frozenset({"anthropic", "bedrock", "vertex"})
"""Kinds that cannot be called without a credential. ``openai`` is not among them: servers that speak its format on
the operator's own machines often want none."""


class Followed(Protocol):
    """Something that reads files."""

    def changed(self) -> bool:
        """Whether anything it read has changed since the last call. May block: for a thread."""


@dataclass(frozen=True, slots=True)
class Links:
    """``sources`` in the order they are asked. Times are seconds; ``limit_s`` bounds one search, minting included."""

    sources: tuple[Source, ...]
    declared: Declared
    minters: Mapping[str, Minter] = field(default_factory=dict)  # by provider kind
    followed: tuple[Followed, ...] = ()
    ttl_s: float = 300.0
    negative_ttl_s: float = 5.0
    limit_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What a link had. ``own``: the tenant's, not a shared one."""

    secret: Secret
    source: str
    own: bool


async def search(links: Links, tenant: str, provider: Provider) -> Stored | None:
    """The stored secret that holds for the pair; ``None`` if there is none and the provider can do without.

    Raises ``CredentialMissingError`` or ``CredentialUnavailableError``.
    """
    for owner in (tenant, SHARED):
        for source in links.sources:
            secret = await source.find(owner, provider.id)
            if secret is not None:
                return Stored(secret, source.name, own=owner != SHARED)
    declared = await links.declared.find(provider)
    if declared is not None:
        return Stored(declared, links.declared.name, own=False)
    if provider.kind in KEYED and provider.kind not in links.minters:
        asked = ", ".join(source.name for source in links.sources) or "no link"
        raise CredentialMissingError(f"asked {asked}; the provider declares none")
    return None
