"""One receiver of the configuration with what its files and detectors say, ready to be delivered to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sovereign_ext.config.findings import Findings, Webhook
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.errors import ConfigError
from sovereign_ext.roots import read_roots
from sovereign_ext.secret import Secret
from sovereign_ext.webhook.client import usable_url
from sovereign_ext.webhook.signing import signing_key

ReadSecret = Callable[[SecretSource, str], Secret]
"""The secret at a place that a field of the configuration names. Raises ``ConfigError`` with that field."""


@dataclass(frozen=True, slots=True)
class Hook:
    """``roots`` are PEM certificates, ``None`` for the system's; ``kinds`` are those asked for, families resolved,
    none for all; ``field`` is its place in the configuration."""

    webhook: Webhook
    roots: bytes | None
    kinds: frozenset[str]
    field: str

    def keys(self, read: ReadSecret) -> tuple[bytes, ...]:
        """The keys that sign, read now: a secret's file may have changed. Raises ``ConfigError``."""
        return tuple(
            _key(read, source, f"{self.field}.secrets[{at}]")
            for at, source in enumerate(self.webhook.secrets)
        )


def hooks(
    findings: Findings,
    read: Callable[[str], bytes],
    read_secret: ReadSecret,
    in_use: Collection[Hook] = (),
) -> tuple[Hook, ...]:
    """The receivers of a configuration, with ``read`` giving its documents. Raises ``ConfigError``.

    The secrets of those ``in_use`` are not looked at: one that went away stops its receiver, not every other change.
    """
    return tuple(hook(findings, at, read, read_secret, in_use) for at in range(len(findings.webhooks)))


def hook(
    findings: Findings,
    at: int,
    read: Callable[[str], bytes],
    read_secret: ReadSecret,
    in_use: Collection[Hook] = (),
) -> Hook:
    """One of them. Raises ``ConfigError``, also where its secrets cannot be read now."""
    webhook, field = findings.webhooks[at], f"findings.webhooks[{at}]"
    roots = read_roots(webhook.ca_path, read, f"{field}.ca_file")
    found = Hook(webhook, roots, _resolved(webhook.kinds), field)
    if found in in_use:
        return found
    found.keys(read_secret)
    try:
        usable_url(webhook.url)
    except ConfigError as error:
        raise ConfigError(error.reason, field=f"{field}.url") from None
    return found


def _resolved(names: tuple[str, ...]) -> frozenset[str]:
    if not names:
        return frozenset()
    # Here, because all detectors take time to import.
    from sovereign_ext.scanner.selection import select  # noqa: PLC0415

    return frozenset(each.kind for each in select(names))


def _key(read: ReadSecret, source: SecretSource, field: str) -> bytes:
    try:
        return signing_key(read(source, field))
    except ValueError as error:
        raise ConfigError(str(error), field=field) from None
