"""The health of several workers as one: ``grpc.health.v1.Health/Check`` for probes that know of one processor.

``liveness`` is that all of them answer: a probe that fails for long has the whole started again, so one that hangs does
not stay. Everything else is that one of them says yes, since Envoy asks those that do. Deliberately not here: Watch and
List, which no probe uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.management.listening import ALONE, listen
from sovereign_ext.management.probe import check
from sovereign_ext.settings import HEALTH_SERVICES

_PATIENCE_S: Final = 2.0
_LIVENESS: Final = "liveness"


def health_server(sockets: Sequence[Path], own: Path, address: tuple[str, int] | None) -> grpc.Server:
    """A server on the Unix socket ``own``, and on the host and port of ``address``; not yet started.

    ``sockets`` are the workers' management sockets. Raises ``StartError`` if it cannot listen there.
    """
    server = grpc.server(ThreadPoolExecutor(4), options=ALONE)
    method = grpc.unary_unary_rpc_method_handler(
        lambda request, context: _answer(sockets, request, context),
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),)
    )
    server.add_insecure_port(f"unix:{own.absolute()}")
    if address is not None:
        listen(server, *address)
    return server


def _answer(sockets: Sequence[Path], request: health_pb2.HealthCheckRequest, context: Any) -> Any:
    if request.service not in ("", *HEALTH_SERVICES):
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    together = all if request.service == _LIVENESS else any
    with ThreadPoolExecutor(len(sockets)) as threads:
        serving = together(threads.map(lambda socket: _serves(socket, request.service), sockets))
    return health_pb2.HealthCheckResponse(status="SERVING" if serving else "NOT_SERVING")


def _serves(socket: Path, service: str) -> bool:
    try:
        return check(socket, service, _PATIENCE_S) == "SERVING"
    except ConnectionError:
        return False
