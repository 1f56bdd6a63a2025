"""The attempt stream: one per try, on the internal hop. Drives an ``Attempt`` and turns its steps into messages.

Envoy's order is headers, then body pieces, then trailers or end of stream; the reply to the response headers may
be withheld as long as the attempt wants (FULL_DUPLEX_STREAMED), and body replies are independent of what came.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc.aio

from sovereign_ext.attest.commit import DELIVERED_RESPONSE
from sovereign_ext.attest.facts import Result
from sovereign_ext.errors import ApiError, CallerError, ServiceError
from sovereign_ext.exchange.attempt import Attempt, sf_headers
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.steps import Emit, Settle, Step, Walk
from sovereign_ext.extproc import messages
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.unreachable import explain
from sovereign_ext.keystore.base import CredentialMissingError
from sovereign_ext.openai.envelope import error_headers, error_object
from sovereign_ext.openai.splice import splice
from sovereign_ext.providers.base import Target

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.25
"""How long a provider may take to close its stream after the answer is complete, so that the connection can be
used again; then the stream is ended without it."""


class AttemptStream:
    """Serves one attempt's stream."""

    def __init__(self, gateway: Gateway, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._gateway = gateway
        self._context = context
        self._attempt: Attempt | None = None
        self._exchange: Exchange | None = None
        self._present: dict[str, str] = {}  # response headers as they came
        self._upstream_ended = False
        self._trailers = False
        self._done = False  # the attempt is over, its stream may not be
        self._closed = False  # the response has been ended
        self._gone = False  # the stream is over
        self._lock = asyncio.Lock()  # one step at a time: a timer may fire while a message is handled
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Read until the stream ends, however it ends."""
        try:
            while (message := await self._context.read()) is not grpc.aio.EOF:
                async with self._lock:
                    await self._message(message)
        finally:
            self._ended()

    async def _message(self, message: Any) -> None:
        kind = message.WhichOneof("request")
        if kind == "response_body":
            body = message.response_body
            self._upstream_ended = self._upstream_ended or body.end_of_stream
            await self._body(body.body, body.end_of_stream)
        elif kind == "request_headers":
            await self._request(messages.headers_of(message.request_headers))
        elif kind == "response_headers":
            await self._response_headers(message)
        elif kind == "response_trailers":
            self._trailers = self._upstream_ended = True
            await self._body(b"", end=True)

    # -- towards the provider ------------------------------------------------------------------------------

    async def _request(self, headers: dict[str, str]) -> None:
        gateway = self._gateway
        exchange = gateway.exchanges.get(headers.get("x-request-id", ""))
        if exchange is None or exchange.decision is None or exchange.settled:
            # Normal after a restart of the processor: the call's state went with the old process.
            error = ServiceError(503, "The gateway lost track of the call. Please retry.", code="exchange_lost")
            await self._write(messages.immediate(503, error_headers(error), error_object(error), "lost"))
            return
        self._exchange = exchange
        exchange.active = True
        number = int(headers.get("x-envoy-attempt-count", "1"))
        if number > len(exchange.decision.plan):
            await self._exhausted(exchange)
            return
        planned = exchange.decision.plan[number - 1]
        now = gateway.clock()
        try:
            target = Target(planned.deployment, planned.provider, gateway.keystore.find(planned.provider))
        except CredentialMissingError as error:
            _log.error("credential missing", extra={"provider": planned.provider.id, "reason": str(error)})
            self._attempt = Attempt(exchange, exchange.decision, planned, _bare(planned), now)
            step = self._attempt.unreachable("credential_missing", _NO_CREDENTIAL, now)
            await self._refused(step)
            return
        self._attempt = Attempt(exchange, exchange.decision, planned, target, now)
        try:
            upstream = self._attempt.request()
        except CallerError as error:
            await self._refused(self._attempt.refused(error, gateway.clock()))
            return
        await self._write(messages.send_attempt(upstream, headers))

    async def _refused(self, step: Step | None) -> None:
        """An attempt that ends before anything is sent."""
        assert self._attempt is not None
        if isinstance(step, Settle):
            emit = await self._settled(step)
            assert emit.head is not None
            await self._write(messages.immediate(emit.head.status, emit.head.headers, emit.body, "refused"))
        else:
            await self._write(messages.walk_at_request())
        self._finish()

    async def _exhausted(self, exchange: Exchange) -> None:
        """The walk is over and nobody answered: the last cause, as one error."""
        error = exchange.last_error or ServiceError(503, "No provider answered.", code="providers_exhausted")
        body = error_object(error)
        delivered = exchange.commitment(DELIVERED_RESPONSE)
        delivered.update(body)
        facts = exchange.settle(
            self._gateway.clock(),
            Result.FAILED,
            status=error.status,
            error_code=error.code,
            delivered=delivered.digest(),
        )
        assert facts is not None
        extra = sf_headers(exchange, attempts=len(exchange.attempts))
        try:
            attestation, index = await self._gateway.settle(exchange, facts)
            headers = (*error_headers(error), *extra, ("x-sf-rekor-index", str(index)))
            body = splice(body, attestation)
        except ServiceError as unavailable:
            error, body = unavailable, error_object(unavailable)
            headers = (*error_headers(unavailable), *extra)
        await self._write(messages.immediate(error.status, headers, body, "exhausted"))
        self._finish()

    # -- from the provider ---------------------------------------------------------------------------------

    async def _response_headers(self, message: Any) -> None:
        attempt = self._attempt
        if attempt is None or self._done:
            return
        self._present = headers = messages.headers_of(message.response_headers)
        self._upstream_ended = message.response_headers.end_of_stream
        now = self._gateway.clock()
        details = messages.attribute(message, "response.code_details")
        if details != "via_upstream":
            reason = messages.attribute(message, "upstream.transport_failure_reason")
            await self._step(attempt.unreachable(*explain(details, reason), now))
            return
        step = attempt.head(int(headers.get(":status", "0")), headers, now)
        if step is None and self._upstream_ended:
            step = attempt.body(b"", True, now)
        await self._step(step)

    async def _body(self, piece: bytes, end: bool) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        if self._done:
            if end:
                await self._close()
            return
        await self._step(attempt.body(piece, end, self._gateway.clock()))

    async def _step(self, step: Step | None) -> None:
        if isinstance(step, Emit):
            await self._emit(step)
        elif isinstance(step, Settle):
            if step.before is not None:
                await self._emit(step.before)
            emit = await self._settled(step)
            self._finish()
            await self._emit(emit)
            if self._upstream_ended:
                await self._close()
            else:
                self._later(_LINGER_S, self._close)
            return
        elif isinstance(step, Walk):
            self._finish()
            await self._write(messages.walk_at_response(self._present))
            return
        self._schedule()

    async def _emit(self, emit: Emit) -> None:
        if emit.head is not None and emit.end and not self._closed:
            # A whole answer in one message; Envoy gives it its content-length.
            self._closed = True
            await self._write(messages.immediate(emit.head.status, emit.head.headers, emit.body, "answer"))
            return
        if emit.head is not None:
            await self._write(messages.release_head(emit.head, self._present))
        if emit.end:
            self._closed = True
        if emit.body or emit.end:
            await self._write(messages.body_out(emit.body, end=emit.end and not self._trailers))
        if emit.end and self._trailers:
            await self._write(messages.trailers_out())

    async def _settled(self, step: Settle) -> Emit:
        assert self._attempt is not None
        assert self._exchange is not None
        try:
            attestation, index = await self._gateway.settle(self._exchange, step.facts)
        except ServiceError as unavailable:
            return self._attempt.unsettled(unavailable)
        emit = self._attempt.settled(attestation)
        if emit.head is None or not emit.end:
            return emit
        head = emit.head.__class__(emit.head.status, (*emit.head.headers, ("x-sf-rekor-index", str(index))))
        return Emit(emit.body, head=head, end=True)

    async def _close(self) -> None:
        """End the response; once."""
        if self._closed:
            return
        self._closed = True
        if self._trailers:
            await self._write(messages.trailers_out())
        else:
            await self._write(messages.body_out(b"", end=True))

    # -- time ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.deadline is not None and self._timer is None:
            delay = max(0.0, attempt.deadline - self._gateway.clock().mono)
            self._later(delay, self._expired)

    def _later(self, delay_s: float, work: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay_s, lambda: self._gateway.spawn(self._locked(work)))

    async def _locked(self, work: Any) -> None:
        async with self._lock:
            self._timer = None
            if not self._gone:
                await work()

    async def _expired(self) -> None:
        if self._attempt is not None and not self._done:
            await self._step(self._attempt.expired(self._gateway.clock()))

    # -- end -----------------------------------------------------------------------------------------------

    async def _write(self, message: Any) -> None:
        if not self._gone:
            await self._context.write(message)

    def _finish(self) -> None:
        """The attempt is over: tell the health window, once."""
        if self._done:
            return
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        attempt = self._attempt
        if attempt is not None and attempt.judgement is not None:
            judged = attempt.judgement
            self._gateway.health.report(
                attempt.planned.deployment,
                judged.verdict,
                self._gateway.clock().mono,
                latency_s=judged.latency_s,
                reason=judged.reason,
                status=judged.status,
                retry_after_s=judged.retry_after_s,
            )

    def _ended(self) -> None:
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        exchange.active = False
        gateway = self._gateway
        if self._attempt is not None and not self._done:
            facts = self._attempt.gone(gateway.clock())
            self._finish()
            if facts is not None:
                gateway.settle_later(exchange, facts)
        if exchange.ended:
            gateway.exchanges.pop(exchange.request_id, None)
            if not exchange.settled:
                facts = exchange.settle(
                    gateway.clock(), Result.FAILED, status=0, error_code="client_disconnected"
                )
                if facts is not None:
                    gateway.settle_later(exchange, facts)


def _bare(planned: Any) -> Target:
    return Target(planned.deployment, planned.provider, None)


_NO_CREDENTIAL: Final[ApiError] = ServiceError(
    502, "The gateway has no credential for the provider.", code="provider_auth_failed"
)
