"""The gRPC service that Envoy's two ext_proc filters talk to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.envoyconf.names import PHASE, PHASE_ATTEMPT
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway

_log = logging.getLogger(__name__)

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_SLACK: Final = 1024 * 1024  # a message is its body plus headers and framing


def server(max_body_bytes: int) -> grpc.aio.Server:
    """A gRPC server whose messages may hold a whole request or answer."""
    limit = max_body_bytes + _SLACK
    return grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.so_reuseport", 0),
        ]
    )


def add_processor(grpc_server: grpc.aio.Server, gateway: Gateway) -> None:
    """Register ``ExternalProcessor.Process`` for both phases."""

    async def process(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        metadata = context.invocation_metadata() or ()
        attempt = any(key == PHASE and value == PHASE_ATTEMPT for key, value in metadata)
        stream = AttemptStream(gateway, context) if attempt else ExchangeStream(gateway, context)
        try:
            await stream.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            # The stream fails closed: Envoy answers with its own error, and the traceback stays here.
            _log.exception("stream failed", extra={"phase": "attempt" if attempt else "exchange"})
            raise

    handler = grpc.stream_stream_rpc_method_handler(
        process,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),))
