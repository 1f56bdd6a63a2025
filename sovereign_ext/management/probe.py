"""Asks a processor for its health from outside: the client's side of ``management.health``.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md, the method Check, on the processor's Unix socket.
"""

from __future__ import annotations

from pathlib import Path

import grpc

from sovereign_ext._gen.grpc.health.v1 import health_pb2


def check(socket: Path, service: str, timeout_s: float) -> str:
    """The name of the service's status, such as ``SERVING``. Raises ``ConnectionError`` if there is no answer."""
    with grpc.insecure_channel(f"unix:{socket.absolute()}") as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            status = ask(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s).status
        except grpc.RpcError as error:
            raise ConnectionError(f"no answer at {socket} ({error.code().name})") from None
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
    return name
