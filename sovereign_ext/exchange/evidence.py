"""The commitments to one attempt's bytes, each taken where the bytes pass."""

from __future__ import annotations

import msgspec

from sovereign_ext.attest.commit import DELIVERED_RESPONSE, PROVIDER_RESPONSE, SENT_REQUEST
from sovereign_ext.exchange.exchange import Exchange


class Seen(msgspec.Struct, frozen=True):
    """Digests so far; ``None`` where no such bytes exist."""

    sent: bytes | None
    received: bytes | None
    delivered: bytes | None


class Evidence:
    """``sent`` whole, ``received`` and ``delivered`` in pieces.

    ``received`` is the provider's body as it came, a content coding included; ``delivered`` what the client
    is given, without the attestation.
    """

    __slots__ = ("_delivered", "_exchange", "_received", "_sent")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sent: bytes | None = None
        self._received = exchange.commitment(PROVIDER_RESPONSE)
        self._delivered = exchange.commitment(DELIVERED_RESPONSE)

    def sent(self, body: bytes) -> None:
        commitment = self._exchange.commitment(SENT_REQUEST)
        commitment.update(body)
        self._sent = commitment.digest()

    def received(self, piece: bytes) -> None:
        self._received.update(piece)

    def delivered(self, piece: bytes) -> None:
        self._delivered.update(piece)

    def seen(self, *, answered: bool) -> Seen:
        """``answered`` says whether the provider gave a response at all."""
        return Seen(self._sent, self._received.digest() if answered else None, self._delivered.digest())
