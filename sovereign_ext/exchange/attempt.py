"""One try at one deployment, from the provider's headers to the client's last byte.

Sans-IO: events in, steps out. The phases and what may happen in each::

    SENT ──headers──▶ GATHERING   a body is collected: JSON answers and error bodies
      │        └────▶ HELD        a stream has begun; the client has nothing of it
      │                  └─first content─▶ RELEASED   the client has bytes: no way back
      └── any provider failure before RELEASED ──▶ CLOSED (Walk: the next provider, the client saw nothing)
    GATHERING, HELD, RELEASED ──over──▶ SETTLING (Settle) ──settled/unsettled──▶ CLOSED (the last Emit)

Rules, stated once:

1. Nothing reaches the client before first content; until then every provider failure walks on.
2. The finish chunk, the usage chunk and ``[DONE]`` are held back until the entry is durable.
3. After release a failure is an error event and the end: no finish, no ``[DONE]``.
4. An answer whose entry could not be made durable is withheld (503) or ends in an error event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from msgspec.structs import replace

from sovereign_ext.attest.facts import AttemptFact, CallFacts, Result
from sovereign_ext.config.standing import Standing
from sovereign_ext.errors import ApiError, ServiceError
from sovereign_ext.exchange.billing import Charge, unseen_tokens
from sovereign_ext.exchange.deadline import CLIENT_BUFFER_BYTES, Deadline
from sovereign_ext.exchange.evidence import Evidence
from sovereign_ext.exchange.exchange import Decision, Exchange, Planned
from sovereign_ext.exchange.gather import Gather, Inflate, inflate
from sovereign_ext.exchange.hold import StreamHold
from sovereign_ext.exchange.judgement import Judgement
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.steps import Emit, Head, Settle, Step, Walk
from sovereign_ext.exchange.trusted import shortfall
from sovereign_ext.openai import sse
from sovereign_ext.openai.envelope import JSON_TYPE, error_headers, error_object
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.openai.splice import splice
from sovereign_ext.openai.tokens import BYTES_PER_TOKEN
from sovereign_ext.policy.bounds import bounded_timeouts
from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import (
    Answer,
    Fault,
    StreamFault,
    StreamTranslator,
    Target,
    UpstreamRequest,
    Usage,
)
from sovereign_ext.routing.health import Verdict

_ERROR_BODY_LIMIT: Final = 64 * 1024
_HINTED: Final = frozenset({429, 503, 529})
"""Statuses whose body may say when to come back."""
_HINT_S: Final = 1.0
"""How long the walk waits for that."""
_LEAST_MS: Final = 5
"""Of a latency cap: less than this is nothing."""
_STREAM_TYPES: Final = (
    "text/event-stream",
    "application/x-ndjson",
    "application/ndjson",
    "application/vnd.amazon.eventstream",
)
_SSE_HEADERS: Final = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))


class Phase(Enum):
    SENT = auto()
    GATHERING = auto()
    HELD = auto()
    RELEASED = auto()
    SETTLING = auto()
    CLOSED = auto()


class Attempt:
    """State of one try.

    ``deadline`` is monotonic seconds or ``None``; the driver calls ``expired`` when it has passed.
    ``judgement`` is what the health window is to be told once the attempt is over, ``None`` until then.
    """

    def __init__(
        self, exchange: Exchange, decision: Decision, planned: Planned, target: Target, now: Moment
    ) -> None:
        self.exchange = exchange
        self.planned = planned
        self.phase = Phase.SENT
        self.deadline: float | None = None
        self.judgement: Judgement | None = None
        self._first_content_s: float | None = None
        self._decision = decision
        self._target = target
        self._started = now
        self._bounds = bounded_timeouts(
            decision.policy,
            planned.provider,
            stream=decision.request.stream,
            elapsed_ms=int((now.mono - exchange.started.mono) * 1000),
        )
        self._timing = Deadline(self._bounds, now)
        self._limits = exchange.snapshot.config.limits
        self._status = 0
        self._dropped: tuple[str, ...] = ()
        self._hint_until: float | None = None  # monotonic seconds: a failure that waits for its body
        self._standing: Standing | None = None  # as the answering connection showed it
        self._headers: Mapping[str, str] = {}
        self._inflate: Inflate | None = None
        self._gather: Gather | None = None
        self._hold: StreamHold | None = None
        self._head_out = False
        self._unsent = b""
        self._passed_on = 0  # bytes of a stream that the client was given
        self._answer: Answer | None = None
        self._error: ApiError | None = None
        self._evidence = Evidence(exchange)

    # -- towards the provider ----------------------------------------------------------------------------

    @property
    def first_byte_limit_ms(self) -> int | None:
        """How long Envoy may wait for the response's headers where the policy's latency cap leaves less than the
        provider's own limit, which Envoy has from its configuration; else ``None``."""
        stream = self._decision.request.stream
        limit = self._bounds.first_byte_limit_ms(stream=stream)
        return limit if limit < self.planned.provider.timeouts.first_byte_limit_ms(stream=stream) else None

    def admit(self, found: tuple[Standing, ...], now: Moment) -> Step | None:
        """The attempt's turn has come: a step if the deployment does not satisfy the policy any more.

        Nothing has been sent then. ``found`` is what is known of it at this moment. Nor is there any use in sending
        when the policy's latency cap is used up, but for what no provider answers in.
        """
        cap_ms = self._decision.policy.latency_cap_ms
        if cap_ms is not None and (now.mono - self.exchange.started.mono) * 1000 >= cap_ms - _LEAST_MS:
            late = ServiceError(504, "The policy's latency cap is used up.", code="provider_timeout")
            return self._fail(Fault("latency_cap", walk=True, caller=True, error=late), now)
        if not shortfall(self.exchange, self.planned, found):
            return None
        error = ServiceError(
            503, "A provider no longer satisfied the policy when its turn came.", code="no_longer_eligible"
        )
        return self._fail(Fault("no_longer_eligible", walk=True, caller=True, error=error), now)

    def request(self) -> UpstreamRequest:
        """What to send to the provider. Raises ``CallerError`` if it cannot do what is asked."""
        upstream = self.planned.adapter.request(self._decision.request, self._target)
        self._dropped = upstream.dropped
        self._evidence.sent(upstream.body)
        return upstream

    # -- from the provider -------------------------------------------------------------------------------

    def head(
        self,
        status: int,
        headers: Mapping[str, str],
        now: Moment,
        found: tuple[Standing, ...] = (Standing(),),
    ) -> Step | None:
        """The provider's response headers (lower-case names) have come.

        ``found`` is what is known of the deployment with the connection that answers taken into account. An answer
        that does not show what the policy requires is withheld.
        """
        self._status = status
        self._headers = headers
        self._timing.heard(now)
        succeeded = 200 <= status < 300
        if succeeded and shortfall(self.exchange, self.planned, found):
            error = ServiceError(
                502, "The provider did not show the trust that the policy requires.", code="tier_not_observed"
            )
            return self._fail(Fault("tier_not_observed", walk=True, error=error), now)
        self._standing = found[0]
        if not succeeded:
            fault = self._status_fault(b"", now)
            # Some providers say in the body when to come back; the next provider can wait for those few bytes.
            hinted = status not in _HINTED or fault.error.retry_after_s is not None
            if fault.walk and hinted:
                return self._fail(fault, now)
            if fault.walk:
                self._hint_until = now.mono + _HINT_S
        kind = headers.get("content-type", "").lower()
        streamed = succeeded and self._decision.request.stream and kind.startswith(_STREAM_TYPES)
        limit = self._limits.max_event_bytes if streamed else self._limits.max_response_bytes
        try:
            self._inflate = inflate(headers.get("content-encoding"), limit)
        except StreamFault as error:
            # An error is an error in whatever coding: only what its body would have told is lost.
            return self._fail(error.fault if succeeded else self._status_fault(b"", now), now)
        if streamed:
            self.phase = Phase.HELD
            several = self._decision.request.values.get("n") not in (None, 1)
            self._hold = StreamHold(self._translator(now), limit, several=several)
        else:
            self.phase = Phase.GATHERING
            self._gather = Gather(limit if succeeded else _ERROR_BODY_LIMIT, cut=not succeeded)
        self._arm()
        return None

    def body(self, piece: bytes, end: bool, now: Moment) -> Step | None:
        """More of the provider's body; ``end`` marks its end of stream."""
        if self.phase not in (Phase.GATHERING, Phase.HELD, Phase.RELEASED):
            return None  # the call is over; what still comes is not the client's
        assert self._inflate is not None
        self._timing.heard(now)
        self._evidence.received(piece)
        try:
            piece = self._inflate(piece) if piece else piece
            if self._hold is not None:
                return self._stream(self._hold, piece, end, now)
            return self._document(piece, end, now)
        except StreamFault as error:
            succeeded = 200 <= self._status < 300
            return self._fail(error.fault if succeeded else self._status_fault(b"", now), now)

    def expired(self, now: Moment) -> Step | None:
        """The deadline has passed. A step if that is so for good, else ``None`` with a later ``deadline``."""
        self._arm()
        if self.deadline is None or now.mono < self.deadline:
            return None
        if self._hint_until is not None:
            return self._fail(self._status_fault(b"", now), now)
        error = ServiceError(504, "The provider took too long.", code="provider_timeout")
        step = self._fail(Fault(self._timing.overdue(now), walk=True, error=error), now)
        if self._passed_on >= CLIENT_BUFFER_BYTES:
            self.judgement = Judgement(Verdict.IGNORED)  # as likely the client does not read
        return step

    def unreachable(self, outcome: str, error: ApiError, now: Moment) -> Step | None:
        """Envoy has no answer from the provider to give: connect, TLS, reset or first-byte failure."""
        return self._fail(Fault(outcome, walk=True, error=error), now)

    def refused(self, error: ApiError, now: Moment) -> Step | None:
        """This provider cannot do what the request asks for; nothing was sent. Another one may."""
        return self._fail(Fault("refused", walk=True, caller=True, error=error), now)

    def without_credential(self, outcome: str, error: ApiError, now: Moment) -> Step | None:
        """We have no credential for this call; nothing was sent. That says nothing about the provider's health:
        another tenant may well have one."""
        return self._fail(Fault(outcome, walk=True, caller=True, error=error), now)

    def gone(self, now: Moment, *, walked: bool = False) -> CallFacts | None:
        """The transport ended before this attempt did: the client left, or the provider's connection broke.

        ``walked`` says that Envoy has asked for the next element: what was released never left it. Gives the
        facts to write down if that ends the call; ``None`` if it goes on elsewhere or is settled.
        """
        if self.phase in (Phase.SETTLING, Phase.CLOSED):
            return None
        released, left = self.phase is Phase.RELEASED and not walked, self.exchange.client_gone
        if left:
            self._record("client_gone", now)
            self.judgement = Judgement(Verdict.IGNORED)
        else:
            outcome = "cut" if self._status else "reset"
            self._record(outcome, now)
            self.judgement = Judgement(Verdict.FAILURE, reason=outcome, status=self._status)
            self.exchange.last_error = ServiceError(
                502, "The provider broke off its answer.", code="provider_disconnected"
            )
        self.phase = Phase.CLOSED
        self.deadline = None
        if not left and not released:
            return None  # Envoy walks on: the client has seen nothing
        return self._facts(
            now,
            Result.TRUNCATED if released else Result.FAILED,
            status=200 if released else 0,
            error_code="client_disconnected" if left else "provider_disconnected",
            answered=released,
        )

    def unheard(self, facts: CallFacts) -> CallFacts:
        """What to write down instead of ``facts`` if the client's stream has ended before the entry was begun."""
        return replace(
            facts,
            result=Result.TRUNCATED if self._head_out else Result.FAILED,
            status=200 if self._head_out else 0,
            error_code="client_disconnected",
            digests=replace(facts.digests, delivered_response=None),
        )

    # -- after the entry ---------------------------------------------------------------------------------

    def settled(self, attestation: bytes) -> Emit:
        """The entry is durable: the last bytes, with ``attestation`` (a JSON object) spliced in."""
        self.phase = Phase.CLOSED
        if self._error is not None:
            return self._emit_error(self._error, splice(error_object(self._error), attestation))
        if self._hold is not None:
            fallback: dict[str, object] = {
                "id": f"chatcmpl-{self._call_id}",
                "object": "chat.completion.chunk",
                "created": self._started.wall_ms // 1000,
                "model": self._decision.request.model,
            }
            closing = self._hold.closing(attestation, fallback=fallback)
            return Emit(self._unsent + closing, head=self._stream_head())
        assert self._answer is not None
        head = Head(200, (("content-type", JSON_TYPE), *self._sf_headers()))
        return Emit(splice(self._answer.body, attestation), head=head, end=True)

    def unsettled(self, error: ApiError) -> Emit:
        """The entry could not be made durable: what was held back stays back."""
        self.phase = Phase.CLOSED
        return self._emit_error(error, error_object(error))

    # -- inside ------------------------------------------------------------------------------------------

    def _document(self, piece: bytes, end: bool, now: Moment) -> Step | None:
        assert self._gather is not None
        if not (self._gather.add(piece) or end):
            return None
        body = self._gather.whole()
        if not 200 <= self._status < 300:
            return self._fail(self._status_fault(body, now), now)
        if self._decision.request.stream:
            # A stream was asked for and a document came: an error in a 200, or something else entirely.
            named = "message" in _shared.error_fields(body)
            return self._fail(_shared.unusable("error_event" if named else "wrong_content_type"), now)
        answer = self.planned.adapter.answer(
            self._decision.request, self._target, body, call_id=self._call_id
        )
        self._answer = answer
        self._evidence.delivered(answer.body)
        return self._succeed(now)

    def _stream(self, hold: StreamHold, piece: bytes, end: bool, now: Moment) -> Step | None:
        fault, first = None, self.phase is Phase.HELD
        try:
            if piece:
                hold.feed(piece)
            if end:
                hold.flush()
        except StreamFault as error:
            fault = error.fault
        if fault is not None and self.phase is Phase.HELD:
            return self._fail(fault, now)  # content may have come with it, but the client has not seen it
        if hold.released and self._first_content_s is None:
            self._first_content_s = now.mono - self._started.mono
        out = hold.take()
        if out and self.phase is Phase.HELD:
            self.phase = Phase.RELEASED
            self._arm()
        self._evidence.delivered(out)
        self._passed_on += len(out)
        over: Step | None = None
        if fault is not None:
            over = self._fail(fault, now)
        elif hold.terminal or end:
            self._evidence.delivered(hold.withheld())
            over = self._succeed(now)
        if isinstance(over, Settle) and first:
            self._unsent = out  # the whole answer came at once: if its entry fails, it can still be a 503
            return over
        emitted = Emit(out, head=self._stream_head()) if out else None
        if isinstance(over, Settle) and emitted is not None:
            return Settle(over.facts, before=emitted)
        return over or emitted

    def _succeed(self, now: Moment) -> Settle:
        self._record("ok", now)
        elapsed_s = now.mono - self._started.mono
        first = elapsed_s if self._first_content_s is None else self._first_content_s
        self.judgement = Judgement(Verdict.SUCCESS, latency_s=first)
        return self._settle(now, Result.ANSWERED, status=200, answered=True)

    def _fail(self, fault: Fault, now: Moment) -> Step | None:
        if self.phase in (Phase.SETTLING, Phase.CLOSED):
            return None
        self._record(fault.outcome, now)
        self.judgement = Judgement(
            Verdict.IGNORED if fault.caller else Verdict.FAILURE,
            reason=fault.outcome,
            status=self._status,
            retry_after_s=fault.error.retry_after_s,
        )
        if not fault.caller or self.exchange.last_error is None:
            self.exchange.last_error = fault.error  # a refusal does not hide why another provider failed
        if self.phase is not Phase.RELEASED and fault.walk:
            self.phase = Phase.CLOSED
            self.deadline = None
            return Walk()
        self._error = fault.error
        told = error_object(fault.error)
        if self.phase is Phase.RELEASED:
            self._evidence.delivered(sse.frame(told))
            return self._settle(now, Result.TRUNCATED, status=200, answered=True)
        self._evidence.delivered(told)
        return self._settle(now, Result.FAILED, status=fault.error.status, answered=False)

    def _settle(self, now: Moment, result: Result, *, status: int, answered: bool) -> Settle:
        code = self._error.code if self._error is not None else None
        facts = self._facts(now, result, status=status, error_code=code, answered=answered)
        assert facts is not None, "only one attempt of an exchange can settle it"
        self.phase = Phase.SETTLING
        self.deadline = None
        return Settle(facts)

    def _facts(
        self, now: Moment, result: Result, *, status: int, error_code: str | None, answered: bool
    ) -> CallFacts | None:
        seen = self._evidence.seen(answered=self._status > 0)
        # The client left while the provider was at work: it charges, although nobody answered.
        working = self.exchange.client_gone and seen.sent is not None and self._status < 300
        charge = None
        if answered or working:
            complete = result is Result.ANSWERED
            charge = Charge(self.planned.candidate, self._usage, self._produced(now), complete)
        return self.exchange.settle(
            now,
            result,
            status=status,
            error_code=error_code,
            answered=self.planned if answered else None,
            standing=self._standing,
            usage=self._usage,
            charge=charge,
            sent=seen.sent,
            received=seen.received,
            delivered=seen.delivered,
        )

    @property
    def _usage(self) -> Usage:
        if self._hold is not None:
            return self._hold.usage
        return self._answer.usage if self._answer is not None else Usage()

    def _produced(self, now: Moment) -> int:
        """Our own count of the output's tokens."""
        if self._decision.request.endpoint is Endpoint.EMBEDDINGS:
            return 0
        if self._answer is not None:
            return len(self._answer.body) // BYTES_PER_TOKEN
        came, unseen_s = 0, now.mono - self._started.mono
        if self._hold is not None and self._hold.released:
            came, unseen_s = self._hold.content_tokens, self._first_content_s or 0.0
            if not self.exchange.client_gone:
                return came
        considered = self.exchange.considered
        choices = 1 if considered is None else considered.request.choices
        return came + unseen_tokens(unseen_s, choices)  # reasoning that is not shown comes before the answer

    def _emit_error(self, error: ApiError, body: bytes) -> Emit:
        if self._head_out:
            return Emit(sse.frame(body), end=True)
        return Emit(body, head=Head(error.status, (*error_headers(error), *self._sf_headers())), end=True)

    def _stream_head(self) -> Head | None:
        if self._head_out:
            return None
        self._head_out = True
        return Head(200, (*_SSE_HEADERS, *self._sf_headers()))

    def _sf_headers(self) -> tuple[tuple[str, str], ...]:
        unrecorded = 1 if self.phase is Phase.RELEASED else 0
        dropped = (("x-sf-dropped-parameters", ", ".join(self._dropped)),) if self._dropped else ()
        return (
            *sf_headers(self.exchange, attempts=len(self.exchange.attempts) + unrecorded),
            ("x-sf-provider", self.planned.provider.id),
            *dropped,
        )

    def _translator(self, now: Moment) -> StreamTranslator:
        return self.planned.adapter.stream(
            self._decision.request,
            self._target,
            call_id=self._call_id,
            now_s=now.wall_ms // 1000,
            limit=self._limits.max_event_bytes,
        )

    def _status_fault(self, body: bytes, now: Moment) -> Fault:
        return self.planned.adapter.fault(
            self._status, self._headers, body, self._target, now_s=now.wall_ms / 1000
        )

    @property
    def _call_id(self) -> str:
        return self.exchange.decision_id[-24:]

    def _record(self, outcome: str, now: Moment) -> None:
        self.exchange.attempts.append(
            AttemptFact(
                deployment=self.planned.deployment.id,
                provider=self.planned.provider.id,
                outcome=outcome,
                status=self._status,
                started_ms=self._started.wall_ms,
                duration_ms=max(0, round((now.mono - self._started.mono) * 1000)),
            )
        )

    def _arm(self) -> None:
        """Set the deadline of this phase. Until headers have come, Envoy's own limits hold."""
        if self.phase in (Phase.SENT, Phase.SETTLING, Phase.CLOSED):
            self.deadline = None
            return
        due = self._timing.due(held=self.phase is Phase.HELD and self._first_content_s is None)
        self.deadline = due if self._hint_until is None else min(due, self._hint_until)


def sf_headers(exchange: Exchange, *, attempts: int) -> tuple[tuple[str, str], ...]:
    """The headers that every response of a call carries, denials too."""
    headers = [("x-sf-decision-id", exchange.decision_id), ("x-sf-attempts", str(attempts))]
    if exchange.policy_name:
        headers.append(("x-sf-policy", exchange.policy_name))
    return (*headers, *exchange.limit_headers)
