"""Metrics for scrapers with a key: ``sovereign.management.v1.MetricsService``. What they are, ``telemetry`` says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from google.api import httpbody_pb2

from sovereign_ext._gen.sovereign.management.v1 import metrics_pb2
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.telemetry.metrics import CONTENT_TYPE

SERVICE: Final = metrics_pb2.DESCRIPTOR.services_by_name["MetricsService"]

_FRESH: Final = (("cache-control", "no-store"),)


@dataclass(frozen=True, slots=True)
class MetricsReads:
    """The service. ``exposition`` gives the text of this process."""

    exposition: Callable[[], Awaitable[bytes]]

    async def get_metrics(self, request: metrics_pb2.GetMetricsRequest, call: Call) -> Reply:
        """All metrics."""
        body = httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=await self.exposition())
        return Reply(body, _FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"GetMetrics": self.get_metrics}
