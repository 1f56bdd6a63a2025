"""Which deployments may be asked now, as the health windows of this process see it."""

from __future__ import annotations

from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.instruments import Labels
from sovereign_ext.telemetry.readings import Readings


class Deployments:
    """One series for each deployment of the configuration in use."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self._available = making.instruments.gauge(
            "sovereign_deployment_available",
            "1 if the deployment may be asked, 0 while it cools down.",
            ("provider", "deployment"),
        )

    def hears(self) -> Hears:
        return {}

    def read(self, readings: Readings) -> None:
        making = self._making
        found: dict[Labels, float] = {}
        for each in readings.deployments:
            labels = (making.providers(each.provider), making.deployments(each.deployment))
            found[labels] = min(float(each.available), found.get(labels, 1.0))  # of those that share a name
        self._available.replace(found.items())
