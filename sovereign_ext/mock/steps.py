"""The vocabulary of a script: what can happen on the socket once a request was read. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for one write call."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Let what was written leave, then do nothing for so many seconds.

    ``None`` is until the client goes away.
    """

    seconds: float | None


@dataclass(frozen=True, slots=True)
class End:
    """End the connection.

    Steps after it are not played. ``cut`` marks an end the client must see as a failure.
    """

    how: Literal["fin", "rst"] = "fin"
    cut: bool = False


Step = Write | Wait | End
FLUSH = Wait(0)
"""Make what was written a packet of its own."""
