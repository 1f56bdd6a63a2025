"""What is wrong with a request, on real Envoy: a clear OpenAI error each time, and nothing reaches a provider.

Denials of a known tenant are written down; the receipt of one is fetched like any other.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import wire
from stack import HELLO, SAID, ConfigFile, Row, Stack, eventually

from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

pytestmark = pytest.mark.dataplane

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
GOOD = {"model": "chat", "messages": HELLO}
BODY = json.dumps(GOOD).encode()
LIMIT = 256 * 1024
PAST = "2020-01-01T00:00:00Z"


class KeysAndPolicies(ConfigFile):
    """A configuration whose tenant also has an expired and a revoked key and may not use every policy."""

    def __init__(self) -> None:
        super().__init__(limits={"max_request_bytes": LIMIT})
        made = (mint(KeyKind.TENANT, bytes([number] * 32)).reveal() for number in (1, 2, 3))
        self.expired, self.revoked, self.unknown = made

    def document(self) -> dict[str, Any]:
        document = super().document()
        tenant = document["tenants"][0]
        tenant["keys"] += [
            {"id": "old", "hash": hash_key(self.expired), "expires_at": PAST},
            {"id": "lost", "hash": hash_key(self.revoked), "revoked_at": PAST},
        ]
        tenant["policies"] = [name for name in tenant["policies"] if name != "others-only"]
        return document


@dataclass(frozen=True)
class World:
    stack: Stack
    mock: RunningMock
    config: KeysAndPolicies

    def post(self, body: Any = BODY, path: str = CHAT, **options: Any) -> wire.Reply:
        return wire.call(self.stack.port, path, body=body, **({"key": self.config.key} | options))

    def raw(self, head: str, body: bytes = BODY, *, key: bool = True) -> wire.Reply:
        """A request line and headers as they are, with the key and a host."""
        lines = [*head.split("\n"), "Host: gateway.test", "Content-Type: application/json"]
        lines += [f"Authorization: Bearer {self.config.key}"] * key
        return wire.raw(self.stack.port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def calls_since(self, moment_ms: int) -> list[str]:
        """Entries of calls that began at ``moment_ms`` or later; an earlier test's may still be arriving."""
        return [row.decision_id for row in self.rows_since(moment_ms)]

    def rows_since(self, moment_ms: int) -> list[Row]:
        """Those entries."""
        return [row for row in self.stack.rows() if row.predicate["started_ms"] >= moment_ms]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    config = KeysAndPolicies()
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config.provider("alpha", "openai", mock.url)
        config.policy("chain", ["alpha"])
        config.policy("sealed", ["alpha"], required_tier="sealed")
        config.policy("others-only", ["alpha"])
        config.model("chat", ["alpha"])
        config.model("embed", ["alpha"], capabilities=("embeddings",))
        yield World(running.enter_context(Stack(config)), mock, config)


@pytest.fixture
def world(shared: World) -> World:
    """The shared stack, with nothing remembered by the provider."""
    shared.mock.clear()
    return shared


def denied(
    world: World, reply: wire.Reply, status: int, code: str | None, *, param: str | None = None
) -> None:
    """An OpenAI error that says so, with ids, that no SDK repeats, and of which no provider heard."""
    assert (reply.status, reply.error["code"], reply.error["param"]) == (status, code, param), reply
    assert reply.error["type"] == "invalid_request_error"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"]
    assert not world.mock.requests()


def recorded(world: World, reply: wire.Reply, result: str = "denied") -> None:
    """The call has one entry, which the response names, attests and commits to; its receipt can be had."""
    row = world.stack.row_of(reply)
    assert (row.tenant, row.predicate["result"], row.predicate["status"]) == ("t", result, reply.status)
    assert row.predicate.get("error_code") == reply.error["code"]
    assert int(reply.headers["x-sf-rekor-index"]) == row.index == reply.attestation["rekor_index"]
    url = reply.attestation["receipt_url"]

    def receipt() -> wire.Reply | None:
        found = wire.call(world.stack.port, url, key=world.config.key, method="GET")
        return found if found.status == 200 else None

    document = eventually(receipt, f"the receipt {url}").json
    assert document


# -- keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, EMBED])
@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "invalid_api_key"),
        ("", "invalid_api_key"),
        ("Bearer", "invalid_api_key"),
        ("Bearer ", "invalid_api_key"),
        ("Bearer sk-router-mistyped", "invalid_api_key"),
        ("Bearer \xff\xfe", "invalid_api_key"),
        ("Basic dTpw", "invalid_api_key"),
        ("Bearer {unknown}", "invalid_api_key"),
        ("{key}", "invalid_api_key"),
        ("Bearer {key}x", "invalid_api_key"),
        ("Bearer " + "x" * 9000, "invalid_api_key"),
    ],
)
def test_keys_that_open_nothing(world: World, path: str, authorization: str | None, code: str):
    """No key, half a key, somebody's key: 401, no entry, and the key is not repeated."""
    began = now_ms()
    value = (authorization or "").format(key=world.config.key, unknown=world.config.unknown)
    reply = world.post(path=path, key=None, headers={} if authorization is None else {"authorization": value})
    denied(world, reply, 401, code)
    assert reply.headers["x-sf-decision-id"]
    assert value[7:] == "" or value[7:27] not in reply.error["message"]
    assert world.calls_since(began) == []


def test_keys_that_opened_something_once(world: World):
    """Expired and revoked keys are told so, and the tenant has an entry of the attempt."""
    for key, code in ((world.config.expired, "expired_api_key"), (world.config.revoked, "revoked_api_key")):
        reply = world.post(key=key)
        denied(world, reply, 401, code)
        recorded(world, reply)


def test_an_admin_key_is_no_tenant_key(world: World):
    """403 that says which key to use; no entry, because no tenant called."""
    began = now_ms()
    denied(world, world.post(key=world.config.admin_key), 403, "admin_key_not_allowed")
    assert world.calls_since(began) == []


# -- policy and model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["no-such-policy", "others-only", "", " ", "chain, sealed", "CHAIN", "ch\xe4in"]
)
def test_policies_that_may_not_be_named(world: World, name: str):
    """Unknown, forbidden, empty and double names are refused alike: never a fall back to the default."""
    reply = world.post(headers={"x-sf-policy": name})
    denied(world, reply, 403, "policy_not_allowed")
    assert reply.error["message"] == (
        "The policy named in X-SF-Policy does not exist or this API key may not use it."
    )
    recorded(world, reply)


def test_two_policy_headers(world: World):
    """Two headers are no choice: whichever comes first, the call is not made under a policy nobody meant."""
    for names in (("chain", "sealed"), ("sealed", "chain"), ("chain", "others-only")):
        head = f"POST {CHAT} HTTP/1.1\nX-SF-Policy: {names[0]}\nX-SF-Policy: {names[1]}\nContent-Length: {len(BODY)}"
        denied(world, world.raw(head), 403, "policy_not_allowed")


def test_nothing_eligible(world: World):
    """403 that names the failed rules, and neither deployments nor addresses."""
    reply = world.post(headers={"x-sf-policy": "sealed"})
    denied(world, reply, 403, "no_eligible_deployment", param="model")
    assert "tier (expected at least sealed)" in reply.error["message"]
    assert "alpha" not in reply.error["message"]
    assert "127.0.0.1" not in reply.error["message"]
    recorded(world, reply)
    reply = world.post({"model": "embed", "messages": HELLO})
    denied(world, reply, 403, "no_eligible_deployment", param="model")
    assert "capability" in reply.error["message"]


def test_unknown_models(world: World):
    """404 as OpenAI says it, for any name."""
    for name in ("no-such", "chat ", "../chat", "x" * 10_000):
        reply = world.post({"model": name, "messages": HELLO})
        denied(world, reply, 404, "model_not_found", param="model")
        assert len(reply.error["message"]) < 500
    recorded(world, reply)


# -- bodies --------------------------------------------------------------------------------------------------

NESTED = b"[" * 100 + b"]" * 100


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"nonsense", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"\xef\xbb\xbf" + BODY, "invalid_json", None),
        (BODY[:-1] + b',"x":NaN}', "invalid_json", None),
        (BODY[:-1] + b',"x":-Infinity}', "invalid_json", None),
        (BODY[:-1] + b',"x":"\\ud800"}', "invalid_json", None),
        (BODY[:-1] + b',"x":"\xed\xa0\x80"}', "invalid_json", None),
        (BODY[:-1] + b',"x":' + NESTED + b"}", "invalid_json", None),
        (BODY[:-1] + b',"x":' + b"9" * 5000 + b"}", "invalid_json", None),
        (b"[" * (LIMIT - 1), "invalid_json", None),
        (b"{" + b'"' + b'\\"' * 100_000, "invalid_json", None),
        ({"messages": HELLO}, "missing_required_parameter", "model"),
        ({"model": 5, "messages": HELLO}, "invalid_type", "model"),
        ({"model": "chat"}, "missing_required_parameter", "messages"),
        ({"model": "chat", "messages": "hi"}, "invalid_type", "messages"),
        ({"model": "chat", "messages": []}, None, "messages"),
        ({"model": "chat", "messages": ["hi"]}, "invalid_type", "messages[0]"),
        ({"model": "chat", "messages": [{"role": "x"}]}, "invalid_value", "messages[0].role"),
        ({**GOOD, "stream": "yes"}, "invalid_type", "stream"),
        ({**GOOD, "stream_options": {"include_usage": True}}, None, "stream_options"),
    ],
)
def test_bodies(world: World, body: Any, code: str | None, param: str | None):
    """Each kind of bad body has its message and its parameter, and an entry with a receipt."""
    reply = world.post(body)
    denied(world, reply, 400, code, param=param)
    recorded(world, reply)


def test_the_last_duplicate_is_the_only_one_sent(world: World):
    """A member given twice cannot mean one thing to the gateway and another to the provider."""
    body = b'{"model":"no-such","model":"chat","messages":[{"role":"user","content":"x"}],"model":"chat"}'
    assert world.post(body).status == 200
    (seen,) = world.mock.requests()
    assert seen.body is not None
    assert seen.body.count(b'"model"') == 1


@pytest.mark.parametrize("path", [CHAT, EMBED])
@pytest.mark.parametrize(
    ("headers", "code", "param"),
    [
        ({"content-type": "text/plain"}, "unsupported_content_type", "content-type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "unsupported_content_type", "content-type"),
        ({"content-type": "application/jsonp"}, "unsupported_content_type", "content-type"),
        ({"content-type": ""}, "unsupported_content_type", "content-type"),
        ({"content-encoding": "gzip"}, "unsupported_content_encoding", "content-encoding"),
    ],
)
def test_content_types(world: World, path: str, headers: dict[str, str], code: str, param: str):
    """Only JSON, and only as it is."""
    reply = world.post(path=path, headers=headers)
    denied(world, reply, 400, code, param=param)
    recorded(world, reply)


@pytest.mark.parametrize("name", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_content_types_that_are_json(world: World, name: str):
    """Case and parameters of the media type do not matter."""
    assert world.post(headers={"content-type": name}).status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large(world: World, chunked: bool):
    """413 in JSON with both ids, whether the size is announced or not."""
    body = b"x" * (LIMIT + 1)
    reply = httpx.post(
        f"http://127.0.0.1:{world.stack.port}{CHAT}",
        content=iter([body]) if chunked else body,
        headers={"authorization": f"Bearer {world.config.key}", "content-type": "application/json"},
    )
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"]
    row = world.stack.row(reply.headers["x-sf-decision-id"])
    assert row.predicate["result"] == "denied"
    assert not world.mock.requests()


def test_the_largest_body(world: World):
    """A body of exactly the limit passes."""
    filler = b"x" * (LIMIT - len(BODY) - len(',"user":""'))
    body = BODY[:-1] + b',"user":"' + filler + b'"}'
    assert len(body) == LIMIT
    assert world.post(body).status == 200
    assert (
        world.post(
            body=None, chunks=[body[:1000], body[1000:]], headers={"content-type": "application/json"}
        ).status
        == 200
    )


# -- methods and paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST"),
        ("PUT", CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"),
        ("GET", EMBED, "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/chat", "GET"),
        ("DELETE", "/sf/v1/providers", "GET, POST"),
        ("POST", "/sf/v1/receipts/0", "GET"),
    ],
)
def test_methods(world: World, method: str, path: str, allow: str):
    """405 that names the method to use."""
    reply = world.post(path=path, method=method)
    denied(world, reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/", "/v1/chat", "/v1/completions", "/v1/responses", "/v2/chat/completions", CHAT + "/",
        CHAT + "/x", "/v1//chat/completions", "//v1/chat/completions", "/V1/chat/completions", "/v1/chat%2fcompletions",
        CHAT + ";x=1", CHAT + "%20", "/v1/x%2f..%2fchat/completions", "/healthz", "/_mock/requests", "/stats",
    ],
)  # fmt: skip
def test_unknown_paths(world: World, path: str):
    """Nothing is proxied that is not a route of ours: 404, with or without a key."""
    for key in (world.config.key, None):
        denied(world, world.post(path=path, key=key), 404, "unknown_url")


@pytest.mark.parametrize(
    "path",
    [
        CHAT + "?x=1", CHAT + "?",
        "/v1/./chat/completions", "/v1/x/../chat/completions", "/v1/x/%2e%2e/chat/completions",
        "/v1/%63hat/completions", "/v1/chat\\completions",
    ],
)  # fmt: skip
def test_paths_that_mean_the_same(world: World, path: str):
    """A query is ignored and dots are resolved before anything is decided; the key is asked for all the same."""
    assert world.post(path=path).status == 200
    (seen,) = world.mock.requests()
    assert seen.target == "/v1/chat/completions"
    assert world.post(path=path, key=None).status == 401


@pytest.mark.parametrize("path", [CHAT + "%00", "/v1/../../etc/passwd", CHAT + "#x", "/%"])
def test_paths_that_mean_nothing(world: World, path: str):
    """Paths that cannot be normalised are 400 in JSON, before any route is looked for."""
    reply = world.post(path=path)
    assert reply.status in (400, 404), reply
    assert reply.error["code"] in ("bad_request", "unknown_url")
    assert reply.headers["x-request-id"]
    assert not world.mock.requests()


def test_models_need_a_key(world: World):
    """The list of models is the tenant's own."""
    denied(world, world.post(None, "/v1/models", key=None, method="GET"), 401, "invalid_api_key")
    denied(
        world,
        world.post(None, "/v1/models", key=world.config.admin_key, method="GET"),
        403,
        "admin_key_not_allowed",
    )
    denied(
        world, world.post(None, "/v1/models/no%2Fsuch", method="GET"), 404, "model_not_found", param="model"
    )


# -- headers that are ours or Envoy's -----------------------------------------------------------------------

FORGED = {
    "x-sf-decision-id": "dec-" + "0" * 32,
    "x-sf-target": "provider.alpha",
    "x-sf-mode": "stream",
    "x-sf-walk": "1",
    "x-sf-attempts": "7",
    "x-sf-provider": "forged",
    "x-sf-rekor-index": "0",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-attempt-count": "2",
    "x-envoy-original-path": "/x",
    "x-envoy-force-trace": "1",
    "x-envoy-internal": "true",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-request-id": "11111111-1111-4111-8111-111111111111",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "forged.test",
    "x-forwarded-proto": "https",
    "forwarded": "for=10.0.0.1",
    "x-client-trace-id": "forged",
    "sf-phase": "attempt",
    "grpc-timeout": "1n",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "cookie": "a=b",
    "openai-organization": "org-client",
    "openai-project": "proj-client",
    "api-key": "client",
    "user-agent": "OpenAI/Python",
    "x-stainless-lang": "python",
    "accept-language": "tlh",
    "accept-encoding": "gzip, br",
    "te": "trailers",
    "expect": "100-continue",
    "proxy-authorization": "Basic dTpw",
}
REPLACED = {"user-agent", "accept-encoding"}


@pytest.mark.parametrize("stream", [False, True])
def test_client_headers_have_no_effect(world: World, stream: bool):
    """None of them changes the call, and none of them reaches the provider."""
    reply = world.stack.chat("chat", stream=stream, headers=FORGED)
    assert (reply.status, reply.complete, reply.text) == (200, True, "You said: Say hello to the reader")
    assert reply.headers["x-sf-decision-id"] != FORGED["x-sf-decision-id"]
    assert reply.headers["x-request-id"] != FORGED["x-request-id"]
    assert (reply.headers["x-sf-attempts"], reply.headers["x-sf-provider"]) == ("1", "alpha")
    assert world.stack.row_of(reply).outcomes == ["ok"]
    (seen,) = world.mock.requests()
    arrived = dict(seen.headers)
    assert set(arrived) == {
        "host", "content-type", "accept", "accept-encoding", "user-agent", "authorization", "content-length",
    }  # fmt: skip
    assert arrived["authorization"].startswith("Bearer sk-own-alpha-")
    assert not any(FORGED[name] == arrived.get(name) for name in FORGED)


@pytest.mark.parametrize("name", sorted(FORGED))
def test_each_client_header(world: World, name: str):
    """One by one, so that none hides another's effect."""
    reply = world.post(headers={name: FORGED[name]})
    assert reply.status == 200, reply
    (seen,) = world.mock.requests()
    assert (name in dict(seen.headers)) == (name in REPLACED)
    assert FORGED[name] not in dict(seen.headers).values()


STATUS = "/sf/v1/log"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc-trace-bin", "no base64!"),
        ("x-any-bin", "A"),
        ("grpc-timeout", "1n"),
        ("grpc-timeout", "soon"),
        ("grpc-encoding", "unheard-of"),
        ("x-odd!", "1"),
        ("cookie", "x" * 50_000),
    ],
)
def test_headers_of_management_calls(world: World, name: str, value: str):
    """What gRPC would make of a header is not asked: HTTP allows it, and the service behind does not read it."""
    headers = {name: value, "authorization": f"Bearer {world.config.admin_key}"}
    reply = world.post(None, STATUS, method="GET", key=None, headers=headers)
    assert reply.status == 200, reply


def test_a_long_token_is_judged(world: World):
    """Identity providers make tokens of more than 8 KiB."""
    reply = world.post(None, STATUS, method="GET", key=f"eyJhbGciOiJSUzI1NiJ9.{'e' * 20_000}.x")
    assert reply.status == 401, reply


def test_a_key_with_a_stray_byte_is_not_written_down(world: World):
    """A non-breaking space, as copying from a page adds one. The log of the process is read by many."""
    for path, method in ((STATUS, "GET"), (CHAT, "POST")):
        reply = world.post(path=path, method=method, key=world.config.admin_key + "\xa0")
        assert reply.status == 401, reply
    assert world.config.admin_key not in world.stack.processor.log.read_text()


def test_one_request_id_for_many_calls(world: World):
    """Calls of two tenants that claim the same request id at the same time are not mixed up."""
    claimed = {"x-request-id": FORGED["x-request-id"]}

    def one(number: int) -> tuple[str, str, str]:
        key = world.config.key if number % 2 else world.config.other_key
        messages = [{"role": "user", "content": f"number {number}"}]
        reply = world.post({"model": "chat", "messages": messages}, key=key, headers=claimed)
        return reply.text, reply.headers["x-sf-decision-id"], "t" if number % 2 else "other"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(64)))
    assert [text for text, _, _ in answers] == [f"You said: number {number}" for number in range(64)]
    assert len({decision for _, decision, _ in answers}) == 64
    for _, decision, tenant in answers:
        assert world.stack.row(decision).tenant == tenant


# -- HTTP itself ---------------------------------------------------------------------------------------------

POST = f"POST {CHAT} HTTP/1.1"
LENGTH = f"Content-Length: {len(BODY)}"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (f"{POST}\n{LENGTH}\n{LENGTH}", BODY),
        (f"{POST}\n{LENGTH}\nContent-Length: 3", BODY),
        (f"{POST}\nContent-Length: 3, {len(BODY)}", BODY),
        (f"{POST}\n{LENGTH}\nTransfer-Encoding: chunked", b"0\r\n\r\n" + BODY),
        (
            f"{POST}\nTransfer-Encoding: chunked\n{LENGTH}",
            b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        (f"{POST}\nContent-Length: -1", BODY),
        (f"{POST}\nContent-Length: +5", BODY),
        (f"{POST}\nContent-Length: 0x10", BODY),
        (f"{POST}\nContent-Length : {len(BODY)}", BODY),
        (f"{POST}\nTransfer-Encoding: chunked", b"xyz\r\n"),
        (f"{POST}\nX-A: a\0b\n{LENGTH}", BODY),
        (f"{POST}\nX A: b\n{LENGTH}", BODY),
        (f"POST {CHAT} x HTTP/1.1\n{LENGTH}", BODY),
        (f"P@ST {CHAT} HTTP/1.1\n{LENGTH}", BODY),
        ("nonsense", b""),
        ("\x16\x03\x01\x02\x00", b""),
    ],
)
def test_smuggling(world: World, head: str, body: bytes):
    """Ambiguous lengths and broken framing end the connection with a 400 in JSON; nothing is passed on."""
    began = now_ms()
    reply = world.raw(head, body)
    denied(world, reply, 400, "bad_request")
    assert reply.headers["connection"] == "close"
    # Where the head was whole and only the body is broken, the processor may have heard of the call: ADR 0005.
    assert all(not row.outcomes for row in world.rows_since(began))


def test_unknown_transfer_codings(world: World):
    """501 as RFC 9112 6.1 says, and the caller's to change."""
    denied(world, world.raw(f"{POST}\nTransfer-Encoding: gzip, chunked", b"0\r\n\r\n"), 501, "bad_request")


@pytest.mark.parametrize("more", ["X-Long: " + "x" * 80_000, "\n".join(f"X-{n}: x" for n in range(200))])
def test_too_many_headers(world: World, more: str):
    """431 in JSON."""
    denied(world, world.raw(f"{POST}\n{more}\n{LENGTH}"), 431, "headers_too_large")


def test_a_connection_without_host(world: World):
    """HTTP/1.1 wants a Host."""
    data = f"{POST}\r\nAuthorization: Bearer {world.config.key}\r\n{LENGTH}\r\n\r\n".encode() + BODY
    denied(world, wire.raw(world.stack.port, data), 400, "bad_request")


def test_as_many_headers_as_are_taken(world: World):
    """Envoy adds its own to them, and takes no more off again than a client may send: 100. Without a host all of them
    are to be taken off."""
    needed = [f"Authorization: Bearer {world.config.key}", "Content-Type: application/json", LENGTH]
    lines = [f"POST {CHAT} HTTP/1.0", *needed, *(f"X-{n}: x" for n in range(100 - len(needed)))]
    reply = wire.raw(world.stack.port, "\r\n".join(lines).encode() + b"\r\n\r\n" + BODY)
    assert reply.status == 200, reply


@pytest.mark.parametrize("name", ["content-type", "traceparent", "tracestate", "cookie"])
def test_headers_as_long_as_are_taken(world: World, name: str):
    """The internal hop has the same limit, and headers of its own on top."""
    value = "application/json; x=".ljust(61_150, "x")
    reply = world.post(headers={name: value})
    assert reply.status == 200, reply


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_ends_in_trailers(world: World, stream: bool):
    """It is a call like any other; the trailers go nowhere."""
    body = json.dumps(GOOD | {"stream": stream}).encode()
    reply = wire.with_trailers(world.stack.port, world.config.key, body)
    assert (reply.status, reply.complete, reply.text) == (200, True, SAID), reply
    row = world.stack.row_of(reply)
    assert (row.predicate["result"], row.outcomes) == ("answered", ["ok"])
    (seen,) = world.mock.requests()
    assert not [name for name, _ in seen.headers if name.lower() in ("x-checksum", "trailer")]


def test_trailers_in_place_of_a_body(world: World):
    """There is nothing to decide about."""
    reply = wire.with_trailers(world.stack.port, world.config.key, b"")
    denied(world, reply, 400, "invalid_json")
    recorded(world, reply)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("option", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
def test_http_versions(world: World, option: str, stream: bool):
    """HTTP/1.0 and cleartext HTTP/2 clients get whole answers and streams."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--max-time", "20", option, "--header", "@-"),
            *(
                "--data",
                json.dumps(GOOD | {"stream": stream}),
                "--write-out",
                "\n%{http_version} %{http_code}",
            ),
            f"http://127.0.0.1:{world.stack.port}{CHAT}",
        ],
        input=f"Authorization: Bearer {world.config.key}\nContent-Type: application/json\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.rpartition("\n")
    assert told == {"--http1.0": "1 200", "--http1.1": "1.1 200"}.get(option, "2 200")
    if stream:
        assert body.index("data: [DONE]\n\n") < body.index("event: sf_attestation")
    else:
        assert json.loads(body)["_sf_attestation"]["provider_id"] == "alpha"
    assert len(world.mock.requests()) == 1


def test_the_gateway_is_none_the_worse(world: World):
    """After all of this it still answers, and its log holds together."""
    assert world.post().status == 200
    world.stack.fsck()
