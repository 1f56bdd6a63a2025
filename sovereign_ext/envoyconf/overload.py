"""Envoy's overload manager: what it gives up as memory or connections run out, and in which order.

Deliberately not here: resetting the streams that hold most memory. A cut stream is what this gateway is to avoid, and
what one of them may hold is limited (``listeners``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.ingress import IngressLimits
from sovereign_ext.envoyconf.typed import Message

_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"
_ACTIONS: Final = (  # action, share of the heap
    ("envoy.overload_actions.shrink_heap", 0.90),
    ("envoy.overload_actions.disable_http_keepalive", 0.92),
    ("envoy.overload_actions.stop_accepting_requests", 0.95),
    ("envoy.overload_actions.stop_accepting_connections", 0.98),
)


def manager(limits: IngressLimits) -> OverloadManager:
    """Fails closed: a call that is refused is answered 503 and may be sent again."""
    return OverloadManager(
        refresh_interval=timedelta(milliseconds=250),
        resource_monitors=[
            _monitor(_HEAP, FixedHeapConfig(max_heap_size_bytes=limits.heap_mib * 1024 * 1024)),
            _monitor(
                _CONNECTIONS,
                DownstreamConnectionsConfig(max_active_downstream_connections=limits.connections),
            ),
        ],
        actions=[
            OverloadAction(name=name, triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=share))])
            for name, share in _ACTIONS
        ],
    )


def _monitor(name: str, config: Message) -> ResourceMonitor:
    return ResourceMonitor(name=name, typed_config=Any.pack(config))
