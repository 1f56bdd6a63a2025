"""Where a gRPC server of ours listens for probes."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from sovereign_ext.errors import StartError

ALONE: Final = (("grpc.so_reuseport", 0),)
"""Options of such a server. Otherwise a second process could listen there as well, and would be asked in its place."""


def listen(server: grpc.Server | grpc.aio.Server, host: str, port: int) -> None:
    """Have ``server`` listen there, without TLS. Raises ``StartError``."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise StartError(f"--health-listen: cannot listen on {address}") from None
