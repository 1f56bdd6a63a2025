"""Everything a provider can get wrong × JSON and streams × faulty provider first, in the middle or last.

Each cell is one call on real Envoy through a chain of three providers of different kinds, on deployments of its
own. Those before the faulty one answer 503; those after it answer well. A cell says what happens to the call:

``Walks``    nothing reached the client, the next provider answers; the last one's failure is the client's error
``Stops``    the caller's own mistake: told at once, nobody else is asked
``Breaks``   the client has content already: an error event or a cut connection, never a finish or ``[DONE]``
``Answers``  odd, but a complete answer

The calls run concurrently before the first test; the tests judge what came of them.
"""

from __future__ import annotations

import datetime
import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wire
from stack import ConfigFile, Row, Stack

from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault, Sse, Stall
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.splice import strip_json, strip_sse

pytestmark = pytest.mark.dataplane

KINDS = ("openai", "vllm", "ollama")
POSITIONS = ("first", "middle", "last")
CONCURRENCY = 16

PROMPT = "the quick brown fox jumps over the lazy dog"
ANSWER = "You said: " + PROMPT
MESSAGES = [{"role": "user", "content": PROMPT}]

# What clients send along and no provider may see.
CLIENT_HEADERS = {
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "0",
    "openai-organization": "org-of-the-client",
    "openai-project": "proj-of-the-client",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "spoofed.example",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-sf-target": "provider.spoofed",
    "x-sf-mode": "stream",
    "x-sf-walk": "1",
    "x-request-id": "00000000-0000-4000-8000-00000000beef",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "cookie": "session=of-the-client",
    "user-agent": "OpenAI/Python 3.54.0",
    "accept-language": "de",
    "accept-encoding": "gzip, deflate, br",
    "x-anything": "else",
}


@dataclass(frozen=True)
class Walks:
    """``status`` is what the provider answered (0: nothing), ``error`` what the client is told if nobody else is
    left: status and code, by kind or by outcome where these differ."""

    outcome: str | tuple[str, ...]
    error: tuple[int, str] | dict[str, tuple[int, str]]
    status: int = 200
    retry_after: str | None = None
    requests: int = 1  # that reach the provider


@dataclass(frozen=True)
class Stops:
    status: int
    error: tuple[int, str | None]
    message: str | None = None  # part of it


@dataclass(frozen=True)
class Breaks:
    """``code`` of the error event, by kind where kinds differ; ``None`` when the transport breaks and no event can
    be sent."""

    outcome: str
    code: str | dict[str, str] | None

    def code_of(self, kind: str) -> str | None:
        return self.code.get(kind, "provider_error") if isinstance(self.code, dict) else self.code


@dataclass(frozen=True)
class Answers:
    text: str = ANSWER


Fate = Walks | Stops | Breaks | Answers


@dataclass(frozen=True)
class Scenario:
    """A fault, which flavour of provider it strikes, and what becomes of a JSON call and of a stream."""

    name: str
    json: Fate
    sse: Fate
    fault: Fault | None = None
    flavour: str = ""


UNUSABLE = (502, "bad_provider_response")
TIMEOUT = (504, "provider_timeout")
UNREACHABLE = (502, "provider_unreachable")
DISCONNECTED = (502, "provider_disconnected")
FAILED = (502, "provider_error")


def either(name: str, json_fate: Fate, sse_fate: Fate, flavour: str = "", **fault: Any) -> Scenario:
    """What becomes of a JSON call and of a stream; ``fault`` is the faulty provider's."""
    return Scenario(name, json_fate, sse_fate, Fault(**fault) if fault else None, flavour)


def same(name: str, fate: Fate, flavour: str = "", **fault: Any) -> Scenario:
    return either(name, fate, fate, flavour, **fault)


def walks_on_status(status: int, error: tuple[int, str], **more: Any) -> Scenario:
    retry_after = more.get("retry_after")
    fate = Walks(f"status_{status}", error, status, None if retry_after is None else str(retry_after))
    return same(f"status-{status}", fate, status=status, **more)


def stops_on_status(status: int, error: tuple[int, str | None]) -> Scenario:
    message = f"about your request {status}"
    return same(f"status-{status}", Stops(status, error, message), status=status, error_message=message)


ERROR_EVENT = Walks("error_event", {"openai": FAILED, "vllm": (503, "overloaded"), "ollama": UNUSABLE})
LOST = Walks("cut", DISCONNECTED)
# A body that the end of the connection delimits ends well for HTTP, even by a reset: only its content tells.
HALF = Walks("invalid_json", UNUSABLE)
NOTHING = Walks("cut", UNUSABLE)
TOLD = Breaks("cut", "bad_provider_response")
RESET = Breaks("cut", None)
# Whether the kernel tells of the reset while connecting or just after is a matter of microseconds.
ABRUPT = Walks(
    ("reset", "connect_failure"), {"reset": DISCONNECTED, "connect_failure": UNREACHABLE}, 0, requests=0
)
TLS = Walks("tls_failure", UNREACHABLE, 0, requests=0)
# A plain server waits for the end of the line that it takes the handshake for, or finds one in it.
NO_TLS = Walks(("tls_failure", "connect_timeout"), UNREACHABLE, 0, requests=0)
FIRST_BYTE = Walks("first_byte_timeout", TIMEOUT, 0)
IDLE = Walks("idle_timeout", TIMEOUT)
TOTAL = Walks("total_timeout", TIMEOUT)
WRONG_TYPE = Walks("wrong_content_type", UNUSABLE)
INVALID = Walks("invalid_json", UNUSABLE)

RST = Cut(after_events=1)
FIN = Cut(after_events=1, how="fin")
READ = Stall(at=1, seconds=0.2)  # so that what was written before the cut has been read and passed on
ODD = Sse(line_end="crlf", space=False, comments=True, multiline=True, bom=True)

SCENARIOS = (
    # 1. statuses
    stops_on_status(400, (400, None)),
    walks_on_status(401, (502, "provider_auth_failed")),
    walks_on_status(402, (429, "insufficient_quota")),
    walks_on_status(403, (502, "provider_auth_failed")),
    stops_on_status(404, (404, "model_not_found")),
    walks_on_status(408, TIMEOUT),
    stops_on_status(413, (413, None)),
    stops_on_status(422, (400, None)),
    walks_on_status(424, FAILED),
    walks_on_status(429, (429, "rate_limit_exceeded"), retry_after=7),
    walks_on_status(500, (500, "provider_error")),
    walks_on_status(502, FAILED),
    walks_on_status(503, (503, "overloaded"), retry_after=3),
    walks_on_status(504, TIMEOUT),
    walks_on_status(529, (503, "overloaded")),
    same(
        "redirect", Walks("status_302", FAILED, 302), status=302, headers={"location": "http://203.0.113.1/"}
    ),
    same("html-400", Stops(400, (400, None)), status=400, html=True),
    same("html-502", Walks("status_502", FAILED, 502), status=502, html=True),
    same("gzip-400", Stops(400, (400, None), "too hot"), status=400, gzip=True, error_message="too hot"),
    same("gzip-503", Walks("status_503", (503, "overloaded"), 503), status=503, gzip=True),
    # 2. no connection, or none that lasts
    same("refused", Walks("connect_failure", UNREACHABLE, 0, requests=0), "refused"),
    same("connect-timeout", Walks("connect_timeout", UNREACHABLE, 0, requests=0), "silent"),
    same("accept-close", ABRUPT, "closes"),
    same("accept-reset", ABRUPT, "resets"),
    same("tls-untrusted", TLS, "untrusted"),
    same("tls-wrong-name", TLS, "misnamed"),
    same("tls-to-plain", NO_TLS, "plaintext"),
    same("tls-good", Answers(), "trusted"),
    same("huge-headers", Walks("protocol_error", DISCONNECTED, 0), huge_headers_bytes=200_000),
    # 3. time
    same("stall-headers", FIRST_BYTE, "quick", stall=Stall(at="headers")),
    same("slow-headers", FIRST_BYTE, "quick", slow_headers_ms=20),
    either(
        "stall-first-chunk",
        IDLE,
        Walks("first_byte_timeout", TIMEOUT),
        "quick",
        stall=Stall(at="first_event"),
    ),
    either("stall-between", IDLE, Breaks("idle_timeout", "provider_timeout"), "impatient", stall=Stall(at=1)),
    same("too-long", TOTAL, "brief", stall=Stall(at="first_event")),
    either("too-long-later", Answers(), Breaks("total_timeout", "provider_timeout"), "brief", pace_ms=350),
    # 4. errors and nonsense inside a 200
    same("error-first", ERROR_EVENT, error_event=ErrorEvent(after="start")),
    same("error-before-content", ERROR_EVENT, error_event=ErrorEvent(after=0)),
    either(
        "error-later",
        Walks("error_event", {"openai": FAILED, "vllm": FAILED, "ollama": UNUSABLE}),
        Breaks("error_event", {"openai": "provider_error", "ollama": "bad_provider_response"}),
        error_event=ErrorEvent(after=2, status=500),
        pace_ms=50,
    ),
    either("empty", INVALID, NOTHING, empty=True),
    either("empty-object", Walks("invalid_answer", UNUSABLE), WRONG_TYPE, body="{}"),
    same("invalid-json", INVALID, invalid_json=True),
    either("endless-line", INVALID, Walks("event_too_large", UNUSABLE), endless_line_mib=2),
    either("html-200", INVALID, WRONG_TYPE, status=200, html=True),
    either("wrong-type", Answers(), WRONG_TYPE, content_type="text/plain"),
    # 5. content coding
    same("gzip", Answers(), gzip=True),
    same("not-gzip", Walks("bad_encoding", UNUSABLE), headers={"content-encoding": "gzip"}),
    same("brotli", Walks("unknown_encoding", UNUSABLE), headers={"content-encoding": "br"}),
    # 6. cut before content
    same("cut-0-rst-chunked", LOST, cut=Cut(after_events=0), framing="chunked"),
    same("cut-0-fin-chunked", LOST, cut=Cut(after_events=0, how="fin"), framing="chunked"),
    same("cut-0-rst-length", LOST, cut=Cut(after_events=0), framing="length"),
    same("cut-0-fin-length", LOST, cut=Cut(after_events=0, how="fin"), framing="length"),
    either("cut-0-rst-close", HALF, NOTHING, cut=Cut(after_events=0), framing="close"),
    either("cut-0-fin-close", HALF, NOTHING, cut=Cut(after_events=0, how="fin"), framing="close"),
    # 7. cut after content
    either("cut-1-rst-chunked", LOST, RESET, cut=RST, framing="chunked", stall=READ),
    either("cut-1-fin-chunked", LOST, RESET, cut=FIN, framing="chunked", stall=READ),
    either("cut-1-rst-length", LOST, RESET, cut=RST, framing="length", stall=READ),
    either("cut-1-fin-length", LOST, RESET, cut=FIN, framing="length", stall=READ),
    either("cut-1-rst-close", HALF, TOLD, cut=RST, framing="close", stall=READ),
    either("cut-1-fin-close", HALF, TOLD, cut=FIN, framing="close", stall=READ),
    # 8. ends and lengths
    either("no-finish", Answers(), TOLD, end="before_finish", pace_ms=20),
    same("no-usage", Answers(), end="before_usage"),
    same("no-done", Answers(), end="before_done"),
    either("length-short", INVALID, TOLD, content_length_delta=-20, end="before_usage", pace_ms=20),
    either("length-long", LOST, Answers(), content_length_delta=20, events_per_write=1000),
    # 9. legal, if odd
    same("byte-by-byte", Answers(), write_size=1),
    same("framing-length", Answers(), framing="length"),
    same("framing-close", Answers(), framing="close"),
    same("crlf", Answers(), sse=ODD),
    same("cr", Answers(), sse=Sse(line_end="cr", event_after_data=True, id_retry=True)),
    same("finish-with-text", Answers(), finish_with_text=True),
)


@dataclass(frozen=True)
class Cell:
    """One call. ``chain`` is the providers in order; the one at ``at`` is faulty."""

    scenario: Scenario
    mode: str
    at: int
    rotation: int

    @property
    def name(self) -> str:
        return f"{self.scenario.name}.{self.mode}.{POSITIONS[self.at]}"

    @property
    def stream(self) -> bool:
        return self.mode == "sse"

    @property
    def fate(self) -> Fate:
        return self.scenario.sse if self.stream else self.scenario.json

    @property
    def kinds(self) -> tuple[str, ...]:
        return KINDS[self.rotation :] + KINDS[: self.rotation]

    @property
    def chain(self) -> tuple[str, ...]:
        return tuple(
            provider_id(kind, self.scenario.flavour if at == self.at else "")
            for at, kind in enumerate(self.kinds)
        )

    @property
    def deployments(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{provider}" for provider in self.chain)

    @property
    def upstream(self) -> str:
        return f"up-{self.name}"


def provider_id(kind: str, flavour: str) -> str:
    return f"{kind}-{flavour}" if flavour else kind


# The rotation gives each scenario another kind in the last place, whose error the client gets to see.
CELLS = tuple(
    Cell(scenario, mode, at, number % 3)
    for number, scenario in enumerate(SCENARIOS)
    for mode in ("json", "sse")
    for at in range(3)
)


@dataclass(frozen=True)
class Outcome:
    """What came of a cell."""

    reply: wire.Reply
    sent: bytes
    row: Row
    requests: dict[str, list[Recorded]]  # by kind
    credentials: dict[str, str]  # by provider
    hosts: dict[str, str]  # by provider: what its Host header has to be


@dataclass
class Bench:
    """The running stack and the outcomes of the cells that were selected."""

    stack: Stack
    mocks: dict[str, RunningMock]
    outcomes: dict[str, Future[Outcome]] = field(default_factory=dict)
    health: dict[str, dict[str, Any]] = field(default_factory=dict)  # by deployment, after the last cell

    def run(self, cell: Cell) -> Outcome:
        body = {"model": cell.name, "messages": MESSAGES, "temperature": 0.5}
        sent = json.dumps(body | ({"stream": True} if cell.stream else {})).encode()
        headers = CLIENT_HEADERS | {"x-sf-policy": f"rotation-{cell.rotation}"}
        reply = wire.call(
            self.stack.port, key=self.stack.config.key, body=sent, headers=headers, timeout_s=60
        )
        row = self.stack.row_of(reply)
        found = {kind: [] for kind in KINDS}
        for name, mock in self.mocks.items():
            found[name.partition("-")[0]] += [one for one in mock.requests() if one.model == cell.upstream]
        config = self.stack.config
        credentials = {one["id"]: config.environ[one["credential"]["env"]] for one in config.providers}
        hosts = {one["id"]: one["endpoint"].split("/")[2] for one in config.providers}
        return Outcome(reply, sent, row, found, credentials, hosts)


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """All selected cells, called."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    selected = [
        each.params["cell"] for each in callspecs if each and isinstance(each.params.get("cell"), Cell)
    ]
    wanted = {cell.name: cell for cell in selected}.values()
    config = ConfigFile()
    with ExitStack() as running:
        mocks = _providers(config, running, tmp_path_factory.mktemp("tls"))
        flavours = sorted({scenario.flavour for scenario in SCENARIOS})
        for rotation in range(3):
            kinds = KINDS[rotation:] + KINDS[:rotation]
            config.policy(
                f"rotation-{rotation}",
                [[provider_id(kind, flavour) for flavour in flavours] for kind in kinds],
            )
        for cell in wanted:
            config.model(cell.name, cell.chain, upstream=cell.upstream)
            for at, kind in enumerate(cell.kinds[: cell.at + 1]):
                fault = Fault(status=503) if at < cell.at else cell.scenario.fault
                if fault is not None:
                    mocks[kind].fault(fault, model=cell.upstream)
        bench = Bench(running.enter_context(Stack(config, envoy_threads=2)), mocks)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            bench.outcomes = {cell.name: pool.submit(bench.run, cell) for cell in wanted}
        listed = bench.stack.management("/sf/v1/providers?page_size=1000")["providers"]
        deployments = [each for provider in listed for each in provider["deployments"]]
        bench.health = {each["name"].rpartition("/")[2]: each["health"] for each in deployments}
        yield bench
        bench.stack.monitor()


def _providers(config: ConfigFile, running: ExitStack, directory: Path) -> dict[str, RunningMock]:
    """Every kind in every flavour; the mocks whose requests count."""
    mocks = {kind: running.enter_context(RunningMock(kind, record=5000)) for kind in KINDS}
    closes = running.enter_context(RunningMock("openai", faults=[Fault(accept="close")]))
    resets = running.enter_context(RunningMock("openai", faults=[Fault(accept="reset")]))
    secure = {}
    for kind in KINDS:
        for name, host in (("trusted", "127.0.0.1"), ("untrusted", "127.0.0.1"), ("misnamed", "127.0.0.9")):
            file = directory / f"{kind}-{name}.pem"
            make_certificate(file, host)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
            secure[kind, name] = running.enter_context(RunningMock(kind, tls=context))
    for kind in KINDS:
        mocks[f"{kind}-trusted"] = secure[kind, "trusted"]
        url = mocks[kind].url
        config.provider(kind, kind, url)
        config.provider(f"{kind}-quick", kind, url, timeouts={"first_byte_ms": 700, "idle_ms": 1500})
        config.provider(f"{kind}-impatient", kind, url, timeouts={"idle_ms": 500})
        config.provider(f"{kind}-brief", kind, url, timeouts={"total_ms": 1500})
        config.provider(f"{kind}-refused", kind, f"http://127.0.0.1:{free_ports(1)[0]}")
        config.provider(f"{kind}-silent", kind, _silent(running), timeouts={"connect_ms": 300})
        config.provider(f"{kind}-closes", kind, closes.url)
        config.provider(f"{kind}-resets", kind, resets.url)
        for name in ("trusted", "untrusted", "misnamed"):
            ca = {"tls_ca_file": str(directory / f"{kind}-{name}.pem")} if name != "untrusted" else {}
            config.provider(f"{kind}-{name}", kind, secure[kind, name].url, **ca)
        config.provider(
            f"{kind}-plaintext", kind, url.replace("http:", "https:"), timeouts={"connect_ms": 500}
        )
    return mocks


def _silent(running: ExitStack) -> str:
    """A port whose queue of connections is full: SYNs are dropped, nobody refuses."""
    listener = running.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port = listener.getsockname()[1]
    for _ in range(4):
        filler = running.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    return f"http://127.0.0.1:{port}"


def make_certificate(file: Path, host: str) -> None:
    """A server's key and certificate for an address, and the root that signed it, in one PEM file."""
    now = datetime.datetime.now(datetime.UTC)
    root = make_root(f"root of {file.stem}", now)
    server = make_server(root, "mock provider", now, host=host)
    file.write_bytes(server.key_pem + server.certificate_pem + root.certificate_pem)


def answered_at(cell: Cell) -> int | None:
    """The place in the chain whose answer the client gets, complete or not; ``None`` for an error."""
    if isinstance(cell.fate, Walks):
        return cell.at + 1 if cell.at < 2 else None
    return None if isinstance(cell.fate, Stops) else cell.at


def attempts(cell: Cell) -> int:
    at = answered_at(cell)
    return cell.at + 1 if at is None else at + 1


cells = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@cells
def test_the_client_gets(bench: Bench, cell: Cell):
    """A complete answer, one whole error, or a stream that plainly failed; never half of one as the whole."""
    outcome = bench.outcomes[cell.name].result()
    reply = outcome.reply
    _check_headers(cell, reply, outcome.row)
    at = answered_at(cell)
    if at is None:
        _check_error(cell, reply, outcome.row)
    elif isinstance(cell.fate, Breaks):
        _check_broken(cell, cell.fate, reply, outcome.row)
    else:
        expected = cell.fate.text if isinstance(cell.fate, Answers) else ANSWER
        _check_answer(cell, reply, expected, outcome.row)


HEADERS = {
    "content-type",
    "date",
    "server",
    "x-request-id",
    "x-sf-decision-id",
    "x-sf-attempts",
    "x-sf-policy",
}


def _check_headers(cell: Cell, reply: wire.Reply, row: Row) -> None:
    """Ours only, each once; they name the call, the policy and how many were tried."""
    names = [name.lower() for name, _ in reply.all_headers]
    assert len(names) == len(set(names)), names
    extra = {"content-length"} if "content-length" in names else {"transfer-encoding"}
    if answered_at(cell) is not None:
        # A stream that came in one piece is told with its entry's index, like a whole answer.
        index = {"x-sf-rekor-index"} & set(names) if cell.stream else {"x-sf-rekor-index"}
        extra |= {"x-sf-provider"} | index | ({"cache-control"} if cell.stream else set())
    else:
        extra |= {"x-should-retry", "x-sf-rekor-index"} | ({"retry-after", "retry-after-ms"} & set(names))
        if isinstance(cell.fate, Stops):
            extra |= {"x-sf-provider"}
    assert set(names) == HEADERS | extra
    assert reply.headers["x-request-id"] not in ("", CLIENT_HEADERS["x-request-id"])
    assert reply.headers["x-sf-decision-id"] == row.decision_id
    assert reply.headers["x-sf-attempts"] == str(attempts(cell))
    assert reply.headers["x-sf-policy"] == f"rotation-{cell.rotation}"
    assert reply.headers["server"] == "sovereign"
    if (at := answered_at(cell)) is not None:
        assert reply.headers["x-sf-provider"] == cell.chain[at]
    if "x-sf-rekor-index" in names:
        assert reply.headers["x-sf-rekor-index"] == str(row.index)


def _check_error(cell: Cell, reply: wire.Reply, row: Row) -> None:
    fate = cell.fate
    assert isinstance(fate, Walks | Stops)
    expected = fate.error
    if isinstance(expected, dict):
        expected = expected.get(cell.kinds[cell.at]) or expected[row.outcomes[-1]]
    status, code = expected
    assert (reply.status, reply.complete, reply.error["code"]) == (status, True, code)
    assert reply.headers["content-type"] == "application/json"
    assert reply.attestation["rekor_index"] == row.index
    assert reply.headers["x-should-retry"] == (
        "false" if status < 429 or code == "insufficient_quota" else "true"
    )
    assert reply.headers.get("retry-after") == (fate.retry_after if isinstance(fate, Walks) else None)
    assert b"<" not in reply.body
    assert b"127.0.0.1" not in reply.body
    if isinstance(fate, Stops) and fate.message:
        assert fate.message in reply.error["message"]


def _check_answer(cell: Cell, reply: wire.Reply, text: str, row: Row) -> None:
    assert (reply.status, reply.complete) == (200, True)
    assert reply.text == text
    if not cell.stream:
        assert reply.headers["content-type"] == "application/json"
        assert reply.json["object"] == "chat.completion"
        assert reply.json["model"] == cell.name
        assert reply.json["choices"][0]["finish_reason"] == "stop"
        assert reply.attestation["rekor_index"] == row.index
        return
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.finish_reasons == ["stop"]
    assert reply.stream_error is None
    assert [event.data for event in reply.events].count("[DONE]") == 1
    assert [event.type for event in reply.events][-1] == "sf_attestation"
    assert reply.stream_attestation["rekor_index"] == row.index
    assert reply.body.endswith(b"\n\n")
    for name in ("id", "created", "model"):
        assert len({chunk[name] for chunk in reply.chunks}) == 1
    assert reply.chunks[0]["model"] == cell.name
    assert reply.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("usage" not in chunk for chunk in reply.chunks), "nobody asked for usage"


def _check_broken(cell: Cell, fate: Breaks, reply: wire.Reply, row: Row) -> None:
    assert reply.status == 200
    assert reply.finish_reasons == []
    assert not reply.done
    assert not any(event.type == "sf_attestation" for event in reply.events)
    shown = reply.text
    assert shown
    assert ANSWER.startswith(shown)
    assert shown != ANSWER or row.outcomes[-1] == "cut", "all the words may have come, but not the finish"
    if fate.code is None:
        assert not reply.complete
        assert reply.stream_error is None
        return
    assert reply.complete
    assert reply.stream_error is not None
    assert reply.stream_error["code"] == fate.code_of(cell.kinds[cell.at])
    assert reply.chunks[-1]["_sf_attestation"]["rekor_index"] == row.index


@cells
def test_providers_see(bench: Bench, cell: Cell):
    """Each asked provider: one request, its own credential and body, nothing of the client or another attempt."""
    outcome = bench.outcomes[cell.name].result()
    fate = cell.fate
    for at, kind in enumerate(cell.kinds):
        found = outcome.requests[kind]
        expected = int(at < attempts(cell))
        if at == cell.at and isinstance(fate, Walks):
            expected = fate.requests
        assert len(found) == expected, (kind, found)
        for request in found:
            _check_request(cell, outcome, request, kind, cell.chain[at])


BASE = {"host", "content-type", "accept", "accept-encoding", "user-agent", "authorization", "content-length"}


def _check_request(cell: Cell, outcome: Outcome, request: Recorded, kind: str, provider: str) -> None:
    names = [name.lower() for name, _ in request.headers]
    assert sorted(names) == sorted(BASE)
    assert request.header("authorization") == f"Bearer {outcome.credentials[provider]}"
    assert request.header("host") == outcome.hosts[provider]
    assert request.header("accept-encoding") == "identity"
    assert request.header("content-length") == str(request.body_length)
    assert not request.chunked
    assert request.method == "POST"
    body = json.loads(request.body or b"")
    if kind == "ollama":
        assert request.target == "/api/chat"
        expected: dict[str, Any] = {
            "messages": MESSAGES,
            "options": {"temperature": 0.5},
            "stream": cell.stream,
        }
    else:
        assert request.target == "/v1/chat/completions"
        expected = {"messages": MESSAGES, "temperature": 0.5}
        if cell.stream:
            expected |= {"stream": True, "stream_options": {"include_usage": True}}
    assert body == {"model": cell.upstream, **expected}


@cells
def test_the_row_says(bench: Bench, cell: Cell):
    """Every attempt, also those that never reached a provider, with deployment, outcome, status and times; the
    result; and commitments to the bytes that really went in and out."""
    outcome = bench.outcomes[cell.name].result()
    row, reply, fate = outcome.row, outcome.reply, cell.fate
    said = row.predicate
    assert [attempt["deployment"] for attempt in said["attempts"]] == list(cell.deployments[: attempts(cell)])
    assert [attempt["provider"] for attempt in said["attempts"]] == list(cell.chain[: attempts(cell)])
    for at, attempt in enumerate(said["attempts"]):
        outcomes, status = _expected_attempt(cell, at)
        assert attempt["outcome"] in outcomes, said["attempts"]
        assert attempt["status"] == status, said["attempts"]
        assert said["started_ms"] <= attempt["started_ms"] <= said["finished_ms"]
        assert 0 <= attempt["duration_ms"] <= 30_000
    at = answered_at(cell)
    assert said.get("provider") == (None if at is None else cell.chain[at])
    assert said["stream"] == int(cell.stream)
    assert said["status"] == reply.status
    if at is None:
        assert said["result"] == "failed"
        assert said.get("error_code") == reply.error["code"]
    elif isinstance(fate, Breaks):
        assert said["result"] == "truncated"
        assert said["error_code"] == (fate.code_of(cell.kinds[cell.at]) or "provider_disconnected")
    else:
        assert said["result"] == "answered"
        assert "error_code" not in said
        _check_usage(cell, said)
    _check_commitments(cell, outcome)


def _expected_attempt(cell: Cell, at: int) -> tuple[tuple[str, ...], int]:
    if at < cell.at:
        return ("status_503",), 503
    fate = cell.fate
    if at > cell.at or isinstance(fate, Answers):
        return ("ok",), 200
    if isinstance(fate, Stops):
        return (f"status_{fate.status}",), fate.status
    outcomes = (fate.outcome,) if isinstance(fate.outcome, str) else fate.outcome
    return outcomes, fate.status if isinstance(fate, Walks) else 200


def _check_usage(cell: Cell, said: dict[str, Any]) -> None:
    """Metered on every answer, asked for or not, if the provider told."""
    if cell.scenario.name in ("no-usage", "no-done", "length-short") and cell.stream:
        return
    assert said["prompt_tokens"] == len(PROMPT.split())
    assert said["completion_tokens"] == len(ANSWER.split())


def _check_commitments(cell: Cell, outcome: Outcome) -> None:
    row, reply = outcome.row, outcome.reply
    assert row.commits_to("client-request", outcome.sent)
    if reply.complete:
        stream = reply.headers["content-type"].startswith("text/event-stream")
        assert row.commits_to("delivered-response", (strip_sse if stream else strip_json)(reply.body))
    at = answered_at(cell)
    if at is not None:
        (request,) = outcome.requests[cell.kinds[at]]
        assert row.commits_to("sent-request", request.body or b"")


@cells
def test_health_learns(bench: Bench, cell: Cell):
    """A provider's failure counts against the deployment that failed, once; a caller's mistake against nobody. Who
    limits its rate or names a time is left alone for that long."""
    outcome = bench.outcomes[cell.name].result()
    for at, deployment in enumerate(cell.deployments):
        health = bench.health[deployment]
        counted = (health["window"]["successes"], health["window"]["failures"])
        if at >= attempts(cell) or (at == cell.at and isinstance(cell.fate, Stops)):
            expected = (0, 0)
        elif at < cell.at or (at == cell.at and not isinstance(cell.fate, Answers)):
            expected = (0, 1)
        else:
            expected = (1, 0)
        assert counted == expected, (deployment, outcome.row.outcomes)
        asked = at == cell.at and isinstance(cell.fate, Walks) and cell.fate.retry_after is not None
        assert (health["state"] == "CLOSED") != asked, health
