"""The router stream: one per client request. Authenticates, decides, and writes down what never got further.

Order of a call:

1. headers: route, key, size → an ``Exchange`` (or an immediate answer)
2. body: parse, policy → scan for credentials, with an entry of what was found → decide → limits → under strict audit
   the decision's entry → the walk for Envoy (or a denial with its entry)
3. end of stream: if no attempt settled the call, it is settled here
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.attest.commit import KEY_BYTES
from sovereign_ext.attest.facts import CallFacts, Result
from sovereign_ext.config.model import Audit, Policy
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import ApiError, CallerError, KeyRefused, ServiceError
from sovereign_ext.exchange.admission import demanded, limit_headers, stood_against
from sovereign_ext.exchange.admission import refusal as limit_refusal
from sovereign_ext.exchange.decide import decide, receive
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.leaks import allowed, told
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc import messages
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.grpcwire import GrpcCall
from sovereign_ext.extproc.refusal import refusal, with_entry
from sovereign_ext.extproc.screening import SCANNED_AT_ONCE
from sovereign_ext.openai.envelope import JSON_TYPE, error_headers, error_object
from sovereign_ext.openai.models import model_document, model_list
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.policy.bounds import call_limit_ms
from sovereign_ext.scanner.effort import CalledOff, Effort
from sovereign_ext.scanner.scan import Scan
from sovereign_ext.telemetry.facts import LimitRefused, TurnedAway
from sovereign_ext.tenants.ledger import Admitted, Refused, Verdict
from sovereign_ext.tenants.resolve import Identity, resolve
from sovereign_ext.tenants.xfcc import spiffe_id

_log = logging.getLogger(__name__)

_MODEL_ROUTES: Final = {"/v1/chat/completions": Endpoint.CHAT, "/v1/embeddings": Endpoint.EMBEDDINGS}
_MODELS: Final = "/v1/models"
_ID_BYTES: Final = 10
"""Of a decision id, the random part."""


class ExchangeStream:
    """Serves one router stream."""

    def __init__(self, gateway: Gateway, call: GrpcCall) -> None:
        self._gateway = gateway
        self._call = call
        self._exchange: Exchange | None = None
        self._policy: str | None = None
        self._effort = Effort()  # of the scan

    def message(self, data: bytes) -> None:
        """One processing request."""
        message = pb.ProcessingRequest.FromString(data)
        kind = message.WhichOneof("request")
        try:
            if kind == "request_headers":
                reply = self._headers(message.request_headers)
            elif kind == "request_body":
                reply = self._body(message.request_body.body)
            elif kind == "request_trailers":
                reply = self._request_trailers()
            elif kind == "response_trailers":
                reply = messages.trailers_out()  # asked for so that the stream lasts (envoyconf.filters)
            else:
                return  # nothing else is asked for
        except ApiError as error:
            self._deny(error)
        except Exception:
            _log.exception("unexpected error in %s", self._decision_id or "a call without a tenant")
            self._deny(_internal_error())
        else:
            if reply is not None:
                self._send(reply)

    # -- 1. headers ----------------------------------------------------------------------------------------

    def _headers(self, message: Any) -> Any:
        headers = messages.headers_of(message)
        method, path = headers.get(":method", ""), headers.get(":path", "").partition("?")[0]
        snapshot = self._gateway.snapshot()
        endpoint = _MODEL_ROUTES.get(path)
        if endpoint is None:
            return self._other(method, path, headers, snapshot)
        if method != "POST":
            return self._method_not_allowed(method, path, "POST")
        self._open(endpoint, headers, snapshot)
        _check_headers(headers, message.end_of_stream, snapshot.config.limits.max_request_bytes)
        self._policy = headers.get("x-sf-policy")
        return messages.accept_exchange(self._decision_id, headers, self._gateway.worker)

    def _open(self, endpoint: Endpoint, headers: dict[str, str], snapshot: Snapshot) -> None:
        gateway = self._gateway
        now, random = gateway.clock(), gateway.random(KEY_BYTES + _ID_BYTES)
        exchange = Exchange(
            decision_id=_decision_id(now.wall_ms, random[KEY_BYTES:]),
            started=now,
            endpoint=endpoint,
            identity=_NOBODY,
            snapshot=snapshot,
            key=random[:KEY_BYTES],
        )
        self._exchange = exchange
        try:
            exchange.identity = self._caller(headers, snapshot, now)
        except KeyRefused as error:
            owner = gateway.directory.tenant(error.tenant or "")
            if owner is not None:
                exchange.identity = Identity(owner, error.key_id or "")
            raise
        gateway.key_use.tenant(exchange.identity.tenant.id, exchange.identity.key_id, now.wall_ms)
        gateway.exchanges[exchange.decision_id] = exchange

    def _caller(self, headers: dict[str, str], snapshot: Snapshot, now: Moment) -> Identity:
        """Who calls, by key or by the workload that was verified in front of us. Raises ``KeyRefused``."""
        workload = None
        if snapshot.config.ingress.verifies_workloads:
            workload = spiffe_id(headers.get("x-forwarded-client-cert"))
        return resolve(headers.get("authorization"), self._gateway.directory, now.wall_ms / 1000, workload)

    def _other(self, method: str, path: str, headers: dict[str, str], snapshot: Snapshot) -> Any:
        if path == _MODELS or path.startswith(_MODELS + "/"):
            if method not in ("GET", "HEAD"):
                return self._method_not_allowed(method, path, "GET")
            return self._models(path, headers, snapshot)
        allowed = self._gateway.management_methods(path)
        if allowed and method not in allowed:
            return self._method_not_allowed(method, path, ", ".join(sorted(allowed)))
        raise CallerError(404, f"Invalid URL ({method} {path[:200]})", code="unknown_url")

    def _method_not_allowed(self, method: str, path: str, allowed: str) -> Any:
        error = CallerError(
            405, f"Method {method} is not allowed for {path}; use {allowed}.", code="method_not_allowed"
        )
        headers = (*error_headers(error), ("allow", allowed))
        return messages.immediate(405, headers, error_object(error), "method_not_allowed")

    def _models(self, path: str, headers: dict[str, str], snapshot: Snapshot) -> Any:
        visible = snapshot.visible(self._caller(headers, snapshot, self._gateway.clock()).policies).models
        name = path[len(_MODELS) + 1 :].replace("%2F", "/").replace("%2f", "/").replace("%3A", ":")
        if not name:
            return messages.immediate(200, (("content-type", JSON_TYPE),), model_list(visible), "models")
        for model in visible:
            if model.id == name:
                return messages.immediate(200, (("content-type", JSON_TYPE),), model_document(model), "model")
        raise CallerError(
            404, f"The model `{name[:200]}` does not exist or you do not have access to it.",
            code="model_not_found", param="model",
        )  # fmt: skip

    # -- 2. body -------------------------------------------------------------------------------------------

    def _body(self, body: bytes) -> pb.ProcessingResponse | None:
        """The walk for Envoy; ``None`` if something has to be waited for first."""
        exchange = self._exchange
        assert exchange is not None, "Envoy sends a body after its headers"
        _check_size(len(body), exchange.snapshot.config.limits.max_request_bytes)
        request, policy = receive(exchange, body, self._policy)
        scanned = None
        if len(body) <= SCANNED_AT_ONCE:
            scanned = self._gateway.scan(exchange, policy, body, self._effort)
            if not scanned.findings:
                return self._decide(exchange, request, policy)
        self._answer_later("the scan", self._once_screened(exchange, request, policy, body, scanned))
        return None

    def _request_trailers(self) -> pb.ProcessingResponse:
        """They come once the body is answered, or in its place; what they say is nobody's business."""
        exchange = self._exchange
        assert exchange is not None, "Envoy sends trailers after its headers"
        if exchange.client_request is None:
            raise _no_body()
        return messages.trailers_in()

    def _answer_later(self, what: str, work: Coroutine[Any, Any, pb.ProcessingResponse | None]) -> None:
        """Send what comes of ``work``, if anything, or deny the call."""
        self._gateway.spawn(self._answered(what, work))

    async def _answered(self, what: str, work: Awaitable[pb.ProcessingResponse | None]) -> None:
        try:
            step = await work
        except ApiError as error:
            self._deny(error)
        except Exception:
            _log.exception("unexpected error in %s of %s", what, self._decision_id)
            self._deny(_internal_error())
        else:
            if step is not None:
                self._send(step)

    async def _once_screened(
        self, exchange: Exchange, request: Request, policy: Policy, body: bytes, scanned: Scan | None
    ) -> pb.ProcessingResponse | None:
        """The body is large, or holds credentials. The client may leave meanwhile."""
        gateway = self._gateway
        if scanned is None:
            try:
                scanned = await gateway.scan_aside(exchange, policy, body, self._effort)
            except CalledOff:
                return None
        if scanned.findings:
            facts = told(exchange, policy, scanned, gateway.fingerprint, gateway.clock())
            await gateway.record_findings(exchange, facts)
        if exchange.ended:
            return None
        return self._decide(exchange, allowed(policy, request, scanned), policy)

    def _decide(self, exchange: Exchange, request: Request, policy: Policy) -> pb.ProcessingResponse | None:
        """As ``_body``, for a request that may be sent as it is."""
        gateway = self._gateway
        decision = decide(exchange, request, policy, gateway.health, gateway.adapters, gateway.clock())
        exchange.decision = decision
        names = gateway.entry_clusters(exchange.snapshot)
        clusters = tuple(names[planned.provider.id] for planned in decision.plan)
        stream = request.stream
        providers = tuple(planned.provider for planned in decision.plan)
        limit_ms = call_limit_ms(policy, providers, stream=stream)
        limit_ms += int(gateway.patience.total_seconds() * 1000)
        walk = messages.plan_exchange(clusters, "stream" if stream else "json", limit_ms)
        demand = demanded(exchange, decision, limit_ms)
        if demand is None:
            return self._once_admitted(exchange, walk)
        answer = gateway.admit(exchange, demand)
        if not isinstance(answer, Admitted | Refused):
            self._answer_later("the limits", self._admitted(exchange, answer, walk))
            return None
        self._verdict(exchange, answer)
        return self._once_admitted(exchange, walk)

    def _verdict(self, exchange: Exchange, verdict: Verdict) -> None:
        exchange.limit_headers = limit_headers(verdict.buckets)
        if isinstance(verdict, Refused):
            self._gateway.tell(LimitRefused(exchange.identity.tenant.id, *stood_against(verdict)))
            raise limit_refusal(verdict, self._gateway.clock().wall_ms)

    def _once_admitted(self, exchange: Exchange, walk: pb.ProcessingResponse) -> pb.ProcessingResponse | None:
        """A refused call has no decision entry: that one says that something is about to be sent."""
        assert exchange.decision is not None
        if exchange.decision.policy.audit is Audit.STANDARD:
            return walk
        self._gateway.spawn(self._walk_once_recorded(exchange, walk))
        return None

    async def _admitted(
        self, exchange: Exchange, answer: Awaitable[Verdict], walk: pb.ProcessingResponse
    ) -> pb.ProcessingResponse | None:
        """The counts are elsewhere, or have to be read first. The client may leave meanwhile."""
        verdict = await answer
        if exchange.settled:
            self._gateway.admitted_too_late(exchange)
            return None
        self._verdict(exchange, verdict)
        return self._once_admitted(exchange, walk)

    async def _walk_once_recorded(self, exchange: Exchange, walk: pb.ProcessingResponse) -> None:
        """Strict audit: no provider is sent a byte before the log holds the decision to send it."""
        try:
            index = await self._gateway.record_decision(exchange, exchange.decided(self._gateway.clock()))
        except ServiceError as error:
            # The answer does not wait for the denial's entry, which most likely fails in the same way.
            facts = exchange.refuse(self._gateway.clock(), Result.DENIED, error)
            if facts is not None:
                self._gateway.settle_later(exchange, facts)
                self._send(refusal(error, exchange))
            return
        exchange.decision_index = index
        if not exchange.ended:
            self._send(walk)

    def _deny(self, error: ApiError) -> None:
        """Answer ``error``, with an entry first if the call belongs to a tenant."""
        exchange = self._exchange
        if exchange is None or exchange.identity is _NOBODY:
            endpoint = "" if exchange is None else exchange.endpoint.value
            self._gateway.tell(TurnedAway(endpoint, error.status, error.code))
            self._send(refusal(error, exchange))
            return
        facts = exchange.refuse(self._gateway.clock(), Result.DENIED, error)
        if facts is None:
            return
        if error.status == 413:
            # The body is still coming: Envoy would answer by itself, without our headers, once its buffer is full.
            self._gateway.settle_later(exchange, facts)
            self._send(refusal(error, exchange))
            return
        self._gateway.spawn(self._answer_with_entry(exchange, facts, error))

    async def _answer_with_entry(self, exchange: Exchange, facts: CallFacts, error: ApiError) -> None:
        self._send(await with_entry(self._gateway, exchange, facts, error))

    def _send(self, reply: pb.ProcessingResponse) -> None:
        self._call.send(reply.SerializeToString())

    # -- 3. end --------------------------------------------------------------------------------------------

    def ended(self) -> None:
        """The router stream is over: the answer is complete, or the client left."""
        self._effort.call_off()
        exchange = self._exchange
        if exchange is None or exchange.identity is _NOBODY:
            return
        gateway = self._gateway
        for probe in exchange.probes:
            gateway.health.release(probe)
        exchange.ended = True
        if exchange.broken is not None:
            exchange.broken(False)
        if exchange.settled:
            gateway.exchanges.pop(exchange.decision_id, None)
            return
        exchange.client_gone = True
        if exchange.active:
            return  # the attempt in flight ends next, knows more, and settles
        gateway.exchanges.pop(exchange.decision_id, None)
        facts = exchange.settle(
            gateway.clock(),
            Result.FAILED if exchange.attempts else Result.DENIED,
            status=0,
            error_code="ended_without_answer",  # the client left, or Envoy answered by itself
        )
        if facts is not None:
            gateway.settle_later(exchange, facts)

    @property
    def _decision_id(self) -> str:
        return self._exchange.decision_id if self._exchange is not None else ""


def _decision_id(wall_ms: int, random: bytes) -> str:
    """``dec-`` and 32 hex digits: Unix milliseconds in the first 12, the rest random.

    In the order of time, because the log has an index over them: a new row then goes to the end of it. With random ids
    each goes to another page, which halves what a large database takes a second (bench.log).
    """
    return f"dec-{wall_ms:012x}{random.hex()}"


def _internal_error() -> ServiceError:
    return ServiceError(500, "The gateway failed. Please quote the decision id.", code="internal_error")


def _check_headers(headers: dict[str, str], end_of_stream: bool, limit: int) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise CallerError(
            400, f"Expected content type {JSON_TYPE}, got {kind[:100] or 'none'}.",
            param="content-type", code="unsupported_content_type",
        )  # fmt: skip
    if headers.get("content-encoding", "identity") != "identity":
        raise CallerError(
            400, "Compressed request bodies are not supported.",
            param="content-encoding", code="unsupported_content_encoding",
        )  # fmt: skip
    if end_of_stream:
        raise _no_body()
    length = headers.get("content-length", "")
    if length.isdigit():
        _check_size(int(length), limit)


def _no_body() -> CallerError:
    return CallerError(400, "The request has no body. The API expects a JSON object.", code="invalid_json")


def _check_size(size: int, limit: int) -> None:
    """A size that is not announced is Envoy's to check, but its buffers may be larger than a small limit."""
    if size > limit:
        raise CallerError(
            413, f"The request body has {size} bytes; the limit is {limit}.", code="request_too_large"
        )


_NOBODY: Final[Any] = object()
"""Stands for the identity of a call whose key is not known; such a call has no entry."""
