"""How the gateway stands at the moment somebody asks: values that cost nothing until then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class DeploymentReading(NamedTuple):
    """Whether a deployment may be asked now: not while its circuit is open."""

    deployment: str
    provider: str
    available: bool


@dataclass(frozen=True, slots=True)
class LogReading:
    """``entries`` are durable, ``published`` of them covered by the newest checkpoint. ``leads``: this process makes
    checkpoints."""

    entries: int
    published: int
    healthy: bool
    leads: bool


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """``used_s`` is when the configuration in use was taken up, Unix seconds; ``faults`` what is wrong with what came
    after it."""

    version: int
    used_s: float
    faults: int


@dataclass(frozen=True, slots=True)
class SharedReading:
    """The store that routers count in. ``rebuilding_s`` is how long calls under caps are still refused, ``queued`` the
    calls whose end it has not heard of."""

    reachable: bool
    rebuilding_s: float
    routers: int
    queued: int


@dataclass(frozen=True, slots=True)
class Readings:
    """All of it. ``shared`` is ``None`` where nothing is shared."""

    in_flight: int
    ready: bool
    log: LogReading
    config: ConfigReading
    deployments: Sequence[DeploymentReading]
    shared: SharedReading | None


Read = Callable[[], Readings]
"""Reads memory only; on the event loop."""
