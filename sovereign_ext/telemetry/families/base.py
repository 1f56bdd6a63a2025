"""What a family of metrics is, and what all of them are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sovereign_ext.telemetry.instruments import Instruments
from sovereign_ext.telemetry.labels import Names
from sovereign_ext.telemetry.readings import Readings


class Deployed(NamedTuple):
    """What the configuration says of a deployment: the model it serves, the kind of its provider."""

    model: str
    kind: str


UNKNOWN = Deployed("", "")
"""Of a deployment that is no longer in use."""

DeployedAs = Callable[[str], Deployed]
"""By the deployment's id."""


@dataclass(slots=True)
class Making:
    """``names`` are shared, so that a tenant is the same one in every family."""

    instruments: Instruments
    deployed: DeployedAs
    tenants: Names = field(default_factory=Names)
    policies: Names = field(default_factory=Names)
    models: Names = field(default_factory=Names)
    providers: Names = field(default_factory=Names)
    deployments: Names = field(default_factory=Names)


Hears = Mapping[type, Callable[[Any], None]]
"""What is done with a fact, by its type."""


class Family(Protocol):
    """A family, made of a ``Making``."""

    def hears(self) -> Hears:
        """The facts that it counts."""

    def read(self, readings: Readings) -> None:
        """Somebody asks: bring gauges up to date."""
