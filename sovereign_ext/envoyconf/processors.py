"""How Envoy reaches the processor: one process on its sockets, or several workers that share the calls.

A call belongs to the worker that its request was shown to. New calls go to the worker with the fewest open, of those
that say that they serve; the attempts of a call go to its own worker, also when that takes no new calls any more. So
they have a cluster each, which nothing takes a worker out of (docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterCommonLbConfig, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    RetryPolicy,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExtProcOverrides, ExtProcPerRoute
from envoy_data_plane.envoy.type.v3 import Percent

from sovereign_ext.envoyconf.clusters import MANAGEMENT_CLUSTER, PROCESSOR_CLUSTER, grpc_service
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import PHASE, PHASE_ATTEMPT, PHASE_EXCHANGE, worker_cluster

_HEALTH: Final = HealthCheck(
    timeout=timedelta(seconds=2),
    interval=timedelta(seconds=1),
    no_traffic_interval=timedelta(seconds=1),
    unhealthy_threshold=1,
    healthy_threshold=1,
    grpc_health_check=HealthCheckGrpcHealthCheck(),
)


def clusters(layout: Layout) -> list[Cluster]:
    """The ext_proc service and the management API; of several workers also each one's ext_proc service."""
    found = [
        _of(PROCESSOR_CLUSTER, layout.processor_sockets),
        _of(MANAGEMENT_CLUSTER, layout.management_sockets),
    ]
    if layout.workers > 1:
        found += (
            grpc_service(worker_cluster(number), socket)
            for number, socket in enumerate(layout.processor_sockets, 1)
        )
    return found


def of_exchanges(workers: int) -> GrpcService:
    """For calls of clients. Nothing was said yet where a connection fails, so another worker is asked."""
    service = _reached(PROCESSOR_CLUSTER, PHASE_EXCHANGE)
    if workers > 1:
        service.retry_policy = RetryPolicy(num_retries=workers, retry_on="connect-failure")
    return service


def of_attempts() -> GrpcService:
    """For attempts, where there is one process."""
    return _reached(PROCESSOR_CLUSTER, PHASE_ATTEMPT)


def of_attempts_at(worker: int) -> ExtProcPerRoute:
    """For attempts of calls that this worker has."""
    return ExtProcPerRoute(
        overrides=ExtProcOverrides(grpc_service=_reached(worker_cluster(worker), PHASE_ATTEMPT))
    )


def numbers(workers: int) -> Iterable[int | None]:
    """Of each worker; of a sole process it is not said."""
    return range(1, workers + 1) if workers > 1 else (None,)


def _of(name: str, sockets: tuple[str, ...]) -> Cluster:
    cluster = grpc_service(name, *sockets)
    if len(sockets) > 1:
        cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
        cluster.health_checks = [_HEALTH]
        # None that serves is an error; it would be no better if Envoy asked those that do not.
        cluster.common_lb_config = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0))
    return cluster


def _reached(cluster: str, phase: str) -> GrpcService:
    return GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster),
        timeout=timedelta(0),
        initial_metadata=[HeaderValue(key=PHASE, value=phase)],
    )
