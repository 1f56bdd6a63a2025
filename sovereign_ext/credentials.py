"""What a call to a provider is authorised with, ready to use: a bearer text or a pair of AWS keys.

Where it came from is ``keystore``'s matter, how it goes onto the wire the adapter's. Both kinds hide themselves
from ``repr``; what may be shown of one is its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sovereign_ext.secret import Secret


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Keys that AWS requests are signed with. ``session_token`` comes with temporary ones."""

    access_key_id: str = field(repr=False)
    secret_access_key: Secret = field(repr=False)
    session_token: Secret | None = field(default=None, repr=False)


ProviderCredential = Secret | AwsKeys
"""A ``Secret`` is an API key or a bearer token; the adapter knows which header its provider wants it in."""
