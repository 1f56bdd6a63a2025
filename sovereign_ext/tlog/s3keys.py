"""Which keys sign requests to the tiles' bucket: a pair for good, or whoever has them asked before each request.

Deliberately not here: where temporary keys come from, which is ``keystore``'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from sovereign_ext.credentials import AwsKeys

KEYS_REFUSED: Final = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestExpired", "SignatureDoesNotMatch"}
)
"""Amazon S3's error codes that say something about the keys which signed, and nothing about what was asked."""


class KeySource(Protocol):
    """Where the keys come from. Any thread may ask, and does for every request."""

    def keys(self) -> AwsKeys:
        """Keys that hold now. Raises ``OSError``, whose text shows none."""

    def refused(self, keys: AwsKeys) -> None:
        """The store did not accept ``keys``: others come next, if there are any."""

    def close(self) -> None:
        """Nobody asks any more."""


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """A ``KeySource`` of one pair."""

    pair: AwsKeys = field(repr=False)

    def keys(self) -> AwsKeys:
        return self.pair

    def refused(self, keys: AwsKeys) -> None:
        """There are no others."""

    def close(self) -> None:
        """Nothing was opened."""
