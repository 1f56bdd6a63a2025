"""What is kept of a call while money is reserved for it, so that it can be written down should the gateway die.

The facts of an outcome with ``result`` ``lost``, as they are known when the call is admitted, and the secret behind its
commitments. JSON, because it is kept outside of the process: beside the log's database, or in Valkey; both hold no less
secret things. How the call ended is not known to anybody then; that it was admitted is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from sovereign_ext.attest.facts import CallFacts


@dataclass(frozen=True, slots=True)
class LostCall:
    """The entry to be, and the 32-byte secret of its commitments."""

    facts: CallFacts
    key: bytes

    def ended(self, now_ms: int, decision_index: int | None) -> LostCall:
        """With what is known when it is written down: by when it was over, and where its decision is, if it has one."""
        facts = msgspec.structs.replace(
            self.facts, finished_ms=max(now_ms, self.facts.started_ms), decision_index=decision_index
        )
        return replace(self, facts=facts)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LostCall)


def encode(call: LostCall) -> bytes:
    """One line of JSON."""
    return _encoder.encode(call)


def decode(data: bytes) -> LostCall:
    """Raises ``ValueError`` for what ``encode`` did not make."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a call that may be lost: {error}") from None
