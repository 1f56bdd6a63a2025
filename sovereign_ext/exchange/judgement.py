"""What an attempt says about its deployment when it is over; the driver reports it to the health window."""

from __future__ import annotations

import msgspec

from sovereign_ext.routing.health import Verdict


class Judgement(msgspec.Struct, frozen=True):
    """``latency_s`` is seconds to first content; ``status`` the provider's HTTP status, 0 when none came."""

    verdict: Verdict
    latency_s: float | None = None
    reason: str = ""
    status: int = 0
    retry_after_s: float | None = None
