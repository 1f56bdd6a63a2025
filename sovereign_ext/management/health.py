"""The gRPC health checking protocol: ``grpc.health.v1.Health``.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Written here instead of taken from
``grpcio-health-checking``, which is told of changes; our readiness is asked for, so that nobody can forget
to tell. Four names are known: the empty one and ``readiness`` (a configuration is in use and the log takes entries),
``limits`` (limits are those of all routers), and ``liveness`` (the process answers). Needs no key: it says yes or no.

``limits`` is apart because a shared store is out of reach for all routers at once, as a rule. Were they all not ready
then, nobody would serve the calls that need no cap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.errors import CallerError
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.settings import HEALTH_SERVICES
from sovereign_ext.tlog.service import LogStatus

WATCH_POLL_S: Final = 1.0
"""Seconds between two looks while somebody watches."""

Status: Final = health_pb2.HealthCheckResponse.ServingStatus


def is_ready(log: LogStatus, *, draining: bool) -> bool:
    """Whether calls may come: the log takes entries, and the process is not shutting down.

    A configuration is in use as soon as there is a snapshot, and a faulty edit never takes effect.
    """
    return log.healthy and not draining


@dataclass(frozen=True, slots=True)
class Health:
    """The service. ``ready`` must be cheap and must not block: every watcher asks it once a second."""

    ready: Callable[[], bool]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    limits: Callable[[], bool] = lambda: True

    async def check(self, request: health_pb2.HealthCheckRequest, call: Call) -> Reply:
        """The status of one name. 404 for an unknown one."""
        status = self._status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            raise CallerError(404, "unknown service", code="unknown_service")
        return Reply(health_pb2.HealthCheckResponse(status=status))

    async def list(self, request: health_pb2.HealthListRequest, call: Call) -> Reply:
        """All names with their status."""
        return Reply(
            health_pb2.HealthListResponse(
                statuses={
                    name: health_pb2.HealthCheckResponse(status=self._status(name))
                    for name in ("", *HEALTH_SERVICES)
                }
            )
        )

    async def watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and at each change, until the watcher goes."""
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            await self.sleep(WATCH_POLL_S)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"Check": self.check, "List": self.list, "Watch": self.watch}

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service == "liveness":
            return Status.SERVING
        if service in ("", "readiness"):
            return Status.SERVING if self.ready() else Status.NOT_SERVING
        if service == "limits":
            return Status.SERVING if self.limits() else Status.NOT_SERVING
        return Status.SERVICE_UNKNOWN
