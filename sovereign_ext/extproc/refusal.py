"""Errors that the gateway answers by itself, with the call's entry where the call belongs to a tenant."""

from __future__ import annotations

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.attest.facts import CallFacts
from sovereign_ext.errors import ApiError, ServiceError
from sovereign_ext.exchange.attempt import sf_headers
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.extproc import messages
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.openai.envelope import error_headers, error_object
from sovereign_ext.openai.splice import splice


async def with_entry(
    gateway: Gateway, exchange: Exchange, facts: CallFacts, error: ApiError
) -> pb.ProcessingResponse:
    """``error`` as the answer once the entry of ``facts`` is durable; a 503 instead if it cannot be made so."""
    try:
        attestation, index = await gateway.settle(exchange, facts)
    except ServiceError as unavailable:
        return refusal(unavailable, exchange)
    return _answer(
        error, exchange, splice(error_object(error), attestation), ("x-sf-rekor-index", str(index))
    )


def refusal(error: ApiError, exchange: Exchange | None) -> pb.ProcessingResponse:
    """``error`` as the answer, without an entry or ahead of it."""
    return _answer(error, exchange, error_object(error))


def _answer(
    error: ApiError, exchange: Exchange | None, body: bytes, *more: tuple[str, str]
) -> pb.ProcessingResponse:
    headers = [*error_headers(error), *more]
    if exchange is not None:
        headers.extend(sf_headers(exchange, attempts=len(exchange.attempts)))
    return messages.immediate(error.status, headers, body, "refused")
