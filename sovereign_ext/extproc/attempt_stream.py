"""The attempt stream: one per try, on the internal hop. Drives an ``Attempt`` and turns its steps into messages.

Envoy's order is headers, then body pieces, then trailers or end of stream; the reply to the response headers may
be withheld as long as the attempt wants (FULL_DUPLEX_STREAMED), and body replies are independent of what came.
Everything is done at once but the log's commit and, where they are not at hand, finding the credential and fetching
pictures; what arrives meanwhile waits in a queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeGuard

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.attest.facts import CallFacts, Result
from sovereign_ext.config.standing import Peer, Standing
from sovereign_ext.envoyconf.names import (
    DETAILS,
    EXCHANGE_HEADER,
    FAILURE_REASON,
    PEER_CERTIFICATE,
    PEER_TLS,
    PEER_URI_SAN,
    TARGET_HEADER,
    led_to,
)
from sovereign_ext.errors import ApiError, CallerError, ServiceError
from sovereign_ext.exchange.attempt import Attempt, Phase
from sovereign_ext.exchange.exchange import Exchange, Planned
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.steps import Emit, Head, Settle, Step, Walk
from sovereign_ext.exchange.trusted import standings
from sovereign_ext.extproc import messages
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.grpcwire import GrpcCall
from sovereign_ext.extproc.refusal import with_entry
from sovereign_ext.extproc.unreachable import explain, explain_keyless
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError, Found
from sovereign_ext.openai.conversation import Image
from sovereign_ext.openai.envelope import error_headers, error_object
from sovereign_ext.providers.base import Adapter, BytesOnly, Target
from sovereign_ext.routing.health import Verdict

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.25
"""How long a provider may take to close its stream after the answer is complete, so that the connection can be
used again; then the stream is ended without it."""

_NOT_ACCEPTED: Final = (401, 403)
"""What a provider answers to a credential that it does not take."""

_OF_THE_ACCOUNT: Final = (401, 402, 403, 429)
"""What a provider answers to a caller whose account is at fault, or over its limits."""

_NO_KEY: Final = Found(None, None, None)


class AttemptStream:
    """Serves one attempt's stream."""

    def __init__(self, gateway: Gateway, call: GrpcCall) -> None:
        self._gateway = gateway
        self._call = call
        self._attempt: Attempt | None = None
        self._exchange: Exchange | None = None
        self._present: dict[str, str] = {}  # response headers as they came
        self._upstream_ended = False
        self._trailers = False
        self._settling = False
        self._seeking: tuple[Planned, Moment] | None = None  # for whom something is being fetched, since when
        self._found = _NO_KEY
        self._media: Mapping[str, bytes] = {}
        self._whole: Emit | None = None  # a settled answer of which nothing was sent before
        self._heir: Callable[[Emit], None] | None = None
        self._waiting: deque[Any] = deque()
        self._done = False  # the attempt is over, its stream may not be
        self._closed = False  # the response has been ended
        self._timer: asyncio.TimerHandle | None = None

    def message(self, data: bytes) -> None:
        """One processing request."""
        message = pb.ProcessingRequest.FromString(data)
        if self._settling or self._seeking is not None:
            self._upstream_ended = self._upstream_ended or message.response_body.end_of_stream
            self._waiting.append(message)
        else:
            self._message(message)

    def ended(self) -> None:
        """The stream is over, however it ended."""
        self._cancel_timer()
        exchange = self._exchange
        if exchange is None:
            return
        exchange.active -= 1
        gateway = self._gateway
        if self._seeking is not None:
            self._sought_in_vain(exchange, *self._seeking)
        if self._attempt is not None and not self._done:
            if self._attempt.phase is Phase.RELEASED and not exchange.ended:
                # Envoy resets the client's stream, or, if it had passed nothing on yet, takes the next element.
                exchange.broken = self._gone
                return
            self._gone(walked=False)
        if self._settling or self._whole is not None:
            exchange.undelivered = self._hand_over
        if exchange.ended and not exchange.active:
            gateway.exchanges.pop(exchange.decision_id, None)
            lost = exchange.settle(gateway.clock(), Result.FAILED, status=0, error_code="client_disconnected")
            if lost is not None:
                gateway.settle_later(exchange, lost)

    def _gone(self, walked: bool) -> None:
        assert self._attempt is not None
        assert self._exchange is not None
        facts = self._attempt.gone(self._gateway.clock(), walked=walked)
        self._finish()
        if facts is not None:
            self._gateway.settle_later(self._exchange, facts)

    def _hand_over(self, heir: Callable[[Emit], None]) -> None:
        """Give the whole answer to the stream that can still deliver it."""
        if self._whole is not None:
            heir(self._whole)
        else:
            self._heir = heir

    def _message(self, message: Any) -> None:
        kind = message.WhichOneof("request")
        if kind == "response_body":
            body = message.response_body
            self._upstream_ended = self._upstream_ended or body.end_of_stream
            self._body(body.body, body.end_of_stream)
        elif kind == "request_headers":
            self._request(messages.headers_of(message.request_headers))
        elif kind == "response_headers":
            self._response_headers(message)
        elif kind == "response_trailers":
            self._trailers = self._upstream_ended = True
            self._body(b"", end=True)

    # -- towards the provider ------------------------------------------------------------------------------

    def _request(self, headers: dict[str, str]) -> None:
        gateway = self._gateway
        exchange = gateway.exchanges.get(headers.get(EXCHANGE_HEADER, ""))
        if exchange is not None and exchange.undelivered is not None:
            exchange.undelivered(self._emit)
            return
        if exchange is None or exchange.decision is None or exchange.settled:
            # Normal after a restart of the processor: the call's state went with the old process.
            error = ServiceError(
                503, "The gateway lost track of the call. Please retry.", code="exchange_lost"
            )
            self._send(messages.immediate(503, error_headers(error), error_object(error), "lost"))
            return
        self._exchange = exchange
        exchange.active += 1
        if exchange.broken is not None:
            exchange.broken(True)
            exchange.broken = None
        number = int(headers.get("x-envoy-attempt-count", "1"))
        if number > len(exchange.decision.plan):
            self._exhausted(exchange)
            return
        planned = exchange.decision.plan[number - 1]
        found = gateway.keystore.ready(exchange.identity.tenant.id, planned.provider)
        adapter = planned.adapter
        wanted = adapter.wanted_media(exchange.decision.request) if _takes_bytes_only(adapter) else ()
        if found is not None and not wanted:
            self._begin(exchange, planned, found, headers)
            return
        self._seeking = (planned, gateway.clock())
        gateway.spawn(self._seek(exchange, planned, headers, found, wanted))

    async def _seek(
        self,
        exchange: Exchange,
        planned: Planned,
        headers: dict[str, str],
        at_hand: Found | None,
        wanted: tuple[Image, ...],
    ) -> None:
        """Wait for the credential and pictures, begin with them or walk on without, then see to what came in the
        meantime."""
        found, failure = _NO_KEY, None
        try:
            found = at_hand or await self._gateway.keystore.fetch(
                exchange.identity.tenant.id, planned.provider
            )
            if wanted:
                self._media = await self._gateway.media.fetch(wanted, exchange.snapshot.config.media)
        except (CredentialMissingError, CredentialUnavailableError, CallerError, ServiceError) as error:
            failure = error  # of a credential the keystore has logged it, once for all who wait
        if self._seeking is None or exchange.ended:
            return  # nobody wants the answer any more: nothing is sent
        begun, self._seeking = self._seeking[1], None
        if failure is None:
            self._begin(exchange, planned, found, headers)
        else:
            attempt = self._made(exchange, planned, begun)
            now = self._gateway.clock()
            step = attempt.admit(self._standings(now), now)
            if isinstance(failure, ApiError):
                self._step(step or attempt.refused(failure, now))
            else:
                self._step(step or attempt.without_credential(*explain_keyless(failure), now))
        while self._waiting and not self._settling:
            self._message(self._waiting.popleft())

    def _sought_in_vain(self, exchange: Exchange, planned: Planned, begun: Moment) -> None:
        """The stream is over before all was there. The client left, or Envoy lost patience with us: for a credential,
        since pictures have less time."""
        self._seeking = None
        attempt = self._made(exchange, planned, begun)
        if not exchange.client_gone:
            late = CredentialUnavailableError("timeout", "the stream ended first")
            attempt.without_credential(*explain_keyless(late), self._gateway.clock())
            self._finish()

    def _made(self, exchange: Exchange, planned: Planned, now: Moment) -> Attempt:
        assert exchange.decision is not None
        credential = self._found.credential
        target = Target(planned.deployment, planned.provider, credential, now.wall_ms / 1000, self._media)
        attempt = self._attempt = Attempt(exchange, exchange.decision, planned, target, now)
        return attempt

    def _begin(self, exchange: Exchange, planned: Planned, found: Found, headers: dict[str, str]) -> None:
        """Send the request, if the deployment still satisfies the policy."""
        now = self._gateway.clock()
        self._found = found
        attempt = self._made(exchange, planned, now)
        step = attempt.admit(self._standings(now), now)
        if step is not None:
            self._step(step)
            return
        try:
            upstream = attempt.request()
        except CallerError as error:
            self._step(attempt.refused(error, self._gateway.clock()))
            return
        target = None
        if TARGET_HEADER not in headers:
            target = led_to(self._gateway.entry_clusters(exchange.snapshot)[planned.provider.id])
        self._send(messages.send_attempt(upstream, headers, attempt.first_byte_limit_ms, target))

    def _exhausted(self, exchange: Exchange) -> None:
        """The walk is over and nobody answered: the last cause, as one error."""
        error = exchange.last_error or ServiceError(503, "No provider answered.", code="providers_exhausted")
        facts = exchange.refuse(self._gateway.clock(), Result.FAILED, error)
        assert facts is not None
        self._done = True
        self._gateway.spawn(self._answer_exhausted(exchange, facts, error))

    async def _answer_exhausted(self, exchange: Exchange, facts: CallFacts, error: ApiError) -> None:
        self._send(await with_entry(self._gateway, exchange, facts, error))

    # -- from the provider ---------------------------------------------------------------------------------

    def _response_headers(self, message: Any) -> None:
        attempt = self._attempt
        if attempt is None or self._done:
            return
        self._present = headers = messages.headers_of(message.response_headers)
        self._upstream_ended = message.response_headers.end_of_stream
        now = self._gateway.clock()
        told = messages.attributes_of(message)
        details = told.get(DETAILS, "")
        if details != "via_upstream":
            self._step(attempt.unreachable(*explain(details, told.get(FAILURE_REASON, "")), now))
            return
        peer = Peer(told.get(PEER_CERTIFICATE, ""), told.get(PEER_URI_SAN, ""), told.get(PEER_TLS, ""))
        status = int(headers.get(":status", "0"))
        if status in _NOT_ACCEPTED:
            tenant = attempt.exchange.identity.tenant.id
            self._gateway.keystore.refused(tenant, attempt.planned.provider, self._found)
        step = attempt.head(status, headers, now, self._standings(now, peer))
        if step is None and self._upstream_ended:
            step = attempt.body(b"", True, now)
        self._step(step)

    def _standings(self, now: Moment, peer: Peer | None = None) -> tuple[Standing, ...]:
        assert self._exchange is not None
        assert self._attempt is not None
        newest = self._gateway.snapshot()
        return standings(self._exchange, newest, self._attempt.planned, now.wall_ms / 1000, peer)

    def _body(self, piece: bytes, end: bool) -> None:
        if self._done:
            if end:
                self._close()
        elif self._attempt is not None:
            self._step(self._attempt.body(piece, end, self._gateway.clock()))

    def _step(self, step: Step | None) -> None:
        if isinstance(step, Emit):
            self._emit(step)
        elif isinstance(step, Settle):
            if step.before is not None:
                self._emit(step.before)
            self._cancel_timer()
            self._settling = True
            self._gateway.spawn(self._settle(step.facts))
            return
        elif isinstance(step, Walk):
            self._finish()
            self._send(messages.walk())
            return
        self._schedule()

    async def _settle(self, facts: CallFacts) -> None:
        """Wait for the entry, send the end of the answer, then see to what came in the meantime."""
        assert self._attempt is not None
        assert self._exchange is not None
        if self._exchange.ended:
            facts = self._attempt.unheard(facts)
        try:
            attestation, index = await self._gateway.settle(self._exchange, facts)
            emit = _with_index(self._attempt.settled(attestation), index)
        except ServiceError as unavailable:
            emit = self._attempt.unsettled(unavailable)
        self._finish()
        if emit.head is not None:
            self._whole = Emit(emit.body, head=emit.head, end=True)
            if self._heir is not None:
                self._heir(self._whole)
            if self._upstream_ended:
                emit = self._whole
        self._emit(emit)
        self._settling = False
        while self._waiting:
            self._message(self._waiting.popleft())
        if self._upstream_ended:
            self._close()
        elif not self._closed:
            self._later(_LINGER_S, self._close)

    def _emit(self, emit: Emit) -> None:
        if emit.head is not None and emit.end and not self._closed:
            # A whole answer in one message; Envoy gives it its content-length.
            self._closed = True
            self._send(messages.immediate(emit.head.status, emit.head.headers, emit.body, "answer"))
            return
        if emit.head is not None:
            self._send(messages.release_head(emit.head, self._present))
        if emit.body:
            self._send(messages.body_out(emit.body, end=False))
        if emit.end:
            self._close()

    def _close(self) -> None:
        """End the response; once."""
        if self._closed:
            return
        self._closed = True
        self._cancel_timer()
        self._send(messages.trailers_out() if self._trailers else messages.body_out(b"", end=True))

    # -- time ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.deadline is not None and self._timer is None:
            self._later(max(0.0, attempt.deadline - self._gateway.clock().mono), self._expired)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, work)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        if self._attempt is not None and not self._done and not self._settling:
            self._step(self._attempt.expired(self._gateway.clock()))

    # -- end -----------------------------------------------------------------------------------------------

    def _send(self, message: pb.ProcessingResponse) -> None:
        self._call.send(message.SerializeToString())

    def _finish(self) -> None:
        """The attempt is over: tell the health window, once."""
        if self._done:
            return
        self._done = True
        self._cancel_timer()
        attempt = self._attempt
        if attempt is not None and attempt.judgement is not None:
            judged = attempt.judgement
            # A tenant's own account says nothing about how the provider serves others.
            theirs = self._found.own and judged.status in _OF_THE_ACCOUNT
            self._gateway.health.report(
                attempt.planned.deployment,
                Verdict.IGNORED if theirs else judged.verdict,
                self._gateway.clock().mono,
                latency_s=judged.latency_s,
                reason=judged.reason,
                status=judged.status,
                retry_after_s=judged.retry_after_s,
            )


def _takes_bytes_only(adapter: Adapter) -> TypeGuard[BytesOnly]:
    return _is_bytes_only(type(adapter))


@cache
def _is_bytes_only(adapter: type[Adapter]) -> bool:
    """Remembered, because every attempt asks, and a protocol takes 12 µs to say no."""
    return issubclass(adapter, BytesOnly)


def _with_index(emit: Emit, index: int) -> Emit:
    """A head that has not left yet also names the entry; a stream's has, unless it had nothing to say."""
    if emit.head is None:
        return emit
    head = Head(emit.head.status, (*emit.head.headers, ("x-sf-rekor-index", str(index))))
    return Emit(emit.body, head=head, end=emit.end)
