"""Where a provider's credential comes from. A source never shows what it holds, in errors neither."""

from __future__ import annotations

from typing import Protocol

from sovereign_ext.config.model import Provider
from sovereign_ext.secret import Secret


class CredentialMissingError(Exception):
    """The provider names a credential that cannot be read; the text says where it was looked for."""


class Keystore(Protocol):
    """Finds credentials. ``find`` is called once per attempt and must be cheap."""

    def find(self, provider: Provider) -> Secret | None:
        """The credential, ``None`` if the provider needs none. Raises ``CredentialMissingError``."""
