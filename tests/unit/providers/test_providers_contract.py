"""What every adapter of the registry promises, whatever its wire. One run per adapter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import (
    CALL_ID,
    FINISH_REASONS,
    HOST,
    NOW_S,
    SAMPLES,
    SECRET,
    TEXT,
    Samples,
    chat,
    embeddings,
    streamed,
    target_of,
    translate,
    translator,
    upstream_model_of,
)

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.errors import ApiError, CallerError
from sovereign_ext.openai.request import Endpoint, Request, read_request
from sovereign_ext.providers.base import Adapter, Answer, Part, StreamFault, Usage
from sovereign_ext.providers.registry import ADAPTERS

pytestmark = pytest.mark.parametrize("kind", ADAPTERS, ids=str)
KINDS = st.sampled_from(list(ADAPTERS))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
STATUSES = [*range(300, 309), *range(400, 432), 451, 499, *range(500, 512), 520, 529, 599]


@pytest.fixture
def adapter(kind: ProviderKind) -> Adapter:
    assert ADAPTERS[kind].kind is kind
    return ADAPTERS[kind]


@pytest.fixture
def samples(kind: ProviderKind) -> Samples:
    return SAMPLES[kind]


def answered(adapter: Adapter, request: Request, body: bytes) -> Answer:
    return adapter.answer(request, target_of(adapter.kind), body, call_id=CALL_ID)


# -- requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [chat(), streamed(), streamed(usage=True), embeddings()])
def test_request(adapter: Adapter, samples: Samples, request_: Request):
    """The endpoint's authority and prefix, our own headers only, a JSON body with the provider's model name."""
    if request_.endpoint is Endpoint.EMBEDDINGS and samples.embeddings is None:
        with pytest.raises(CallerError) as caught:
            adapter.request(request_, target_of(adapter.kind))
        assert (caught.value.status, caught.value.param) == (400, "model")
        assert Capability.EMBEDDINGS not in adapter.capabilities
        return
    upstream = adapter.request(request_, target_of(adapter.kind))
    assert upstream.authority == f"{HOST}:8443"
    assert upstream.path.startswith("/base/v1/")
    headers = dict(upstream.headers)
    assert len(headers) == len(upstream.headers)
    assert all(name == name.lower() for name in headers)
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"
    name, value = samples.credential
    assert headers[name] == value
    assert isinstance(json.loads(upstream.body), dict)
    assert samples.asked(upstream) == (upstream_model_of(adapter.kind), request_.stream)
    assert b"org/asked" not in upstream.body


def test_no_credential(adapter: Adapter, samples: Samples):
    """Without a credential no header is made up for one."""
    upstream = adapter.request(chat(), target_of(adapter.kind, secret=None))
    assert not {"authorization", samples.credential[0]} & dict(upstream.headers).keys()


NAMES = (
    "messages", "n", "stop", "seed", "tools", "tool_choice", "response_format", "max_tokens", "logprobs",
    "max_completion_tokens", "temperature", "reasoning_effort", "logit_bias", "stream_options", "functions",
)  # fmt: skip


@pytest.mark.services
@given(data=st.data())
def test_odd_requests(kind: ProviderKind, data: st.DataObject):
    """Whatever passes the reader gives a request or a ``CallerError`` naming a parameter: never a crash."""
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "developer", "assistant", "tool", "function"])},
        optional={
            "content": st.none() | st.text() | st.lists(JSON | st.fixed_dictionaries({"type": JSON})),
            "tool_calls": JSON | st.lists(st.fixed_dictionaries({"id": JSON, "function": JSON})),
            "tool_call_id": JSON,
            "refusal": JSON,
            "function_call": JSON,
        },
    )
    members = data.draw(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
    members["messages"] = data.draw(st.lists(message, min_size=1, max_size=4))
    odd_tool = st.fixed_dictionaries({"type": st.just("function") | JSON, "function": JSON})
    members["tools"] = data.draw(st.none() | JSON | st.lists(odd_tool, max_size=2))
    try:
        request = read_request(Endpoint.CHAT, json.dumps({"model": "m", **members}).encode())
    except CallerError:
        return
    try:
        upstream = ADAPTERS[kind].request(request, target_of(kind))
    except CallerError as error:
        assert (error.status, bool(error.param)) == (400, True)  # noqa: PT017
        return
    assert isinstance(json.loads(upstream.body), dict)
    assert SAMPLES[kind].asked(upstream)[0] == upstream_model_of(kind)


# -- answers -------------------------------------------------------------------------------------------------


def test_answer(adapter: Adapter, samples: Samples):
    """A completion in OpenAI's shape, under the name that the client asked for, and metered."""
    answer = answered(adapter, chat(), samples.answer)
    completion = ChatCompletion.model_validate(json.loads(answer.body), strict=True)
    assert completion.model == "org/asked"
    assert completion.choices[0].message.content == TEXT
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12
    assert answer.usage == Usage(7, 5)


def test_tool_answer(adapter: Adapter, samples: Samples):
    """Tool calls have ids, arguments in a string, and the finish reason that goes with them (case 19)."""
    completion = ChatCompletion.model_validate(
        json.loads(answered(adapter, chat(), samples.tool_answer).body)
    )
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.id
    assert json.loads(call.function.arguments) == {"city": "北京"}


def test_embeddings(adapter: Adapter, samples: Samples):
    """Vectors in OpenAI's shape, metered."""
    assert (samples.embeddings is not None) == (Capability.EMBEDDINGS in adapter.capabilities)
    if samples.embeddings is None:
        return
    answer = answered(adapter, embeddings(), samples.embeddings)
    made = CreateEmbeddingResponse.model_validate(json.loads(answer.body))
    assert made.model == "org/asked"
    assert made.data[0].embedding == [0.5, -1.25]
    assert (made.usage.prompt_tokens, answer.usage.prompt_tokens) == (7, 7)


def answer_outcome(adapter: Adapter, request: Request, body: bytes) -> Answer | StreamFault:
    try:
        return answered(adapter, request, body)
    except StreamFault as fault:
        return fault


@pytest.mark.services
@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_odd_answers(kind: ProviderKind, body: bytes):
    """What is no answer is the provider's fault, and another may do better."""
    for request in (chat(), embeddings(), embeddings(encoding_format="base64")):
        outcome = answer_outcome(ADAPTERS[kind], request, body)
        if isinstance(outcome, StreamFault):
            assert outcome.fault.walk
            assert outcome.fault.error.status >= 500
            assert not outcome.fault.caller


@pytest.mark.services
@given(data=st.data())
def test_damaged_answers(kind: ProviderKind, data: st.DataObject):
    """A good answer with one member replaced by anything at all either passes as an object or is a fault."""
    samples = SAMPLES[kind]
    for request, body in ((chat(), samples.tool_answer), (embeddings(), samples.embeddings)):
        if body is None:
            continue
        document = json.loads(body)
        node: Any = document
        for _ in range(data.draw(st.integers(0, 3))):
            inner = list(node.values()) if isinstance(node, dict) else node
            nested = [value for value in inner if isinstance(value, dict | list) and value]
            if not nested:
                break
            node = data.draw(st.sampled_from(nested))
        at = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        node[at] = data.draw(JSON)
        outcome = answer_outcome(ADAPTERS[kind], request, json.dumps(document).encode())
        if isinstance(outcome, Answer):
            assert isinstance(json.loads(outcome.body), dict)


# -- streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("name", ["stream", "tool_stream"])
def test_stream(adapter: Adapter, samples: Samples, name: str, usage: bool):
    """Cases 27 and 30: OpenAI's chunks in OpenAI's order; usage only if asked for, but metered always."""
    done = translate(adapter, streamed(usage=usage), [getattr(samples, name)])
    for chunk in done.chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert ("usage" in chunk) == usage
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in done.chunks}) == 1
    assert {chunk["model"] for chunk in done.chunks} == {"org/asked"}
    assert done.deltas[0].get("role") == "assistant"
    assert sum("role" in delta for delta in done.deltas) == 1
    reasons = [choice["finish_reason"] for chunk in done.chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["stop" if name == "stream" else "tool_calls"]
    assert set(reasons) <= FINISH_REASONS | {None}
    ending = [Part.FINISH, Part.USAGE, Part.DONE] if usage else [Part.FINISH, Part.DONE]
    assert done.parts[0] is Part.LIFECYCLE
    assert done.parts[-len(ending) :] == ending
    assert Part.USAGE not in done.parts[: -len(ending)]
    assert done.usage == Usage(7, 5)
    assert done.terminal
    if name == "stream":
        assert done.text == TEXT
    else:
        calls = [call for delta in done.deltas for call in delta.get("tool_calls") or ()]
        assert [call["index"] for call in calls] == [0] * len(calls)
        assert calls[0]["id"]
        assert calls[0]["function"]["name"] == "look"
        assert all("id" not in call for call in calls[1:])
        arguments = "".join(call["function"]["arguments"] for call in calls)
        assert json.loads(arguments) == {"city": "北京"}


@pytest.mark.services
@pytest.mark.parametrize("name", ["stream", "tool_stream"])
def test_cut_at_every_byte(adapter: Adapter, samples: Samples, name: str):
    """Cases 1 and 2: wherever the bytes are cut in two, and one by one, the output is the same."""
    stream: bytes = getattr(samples, name)
    whole = translate(adapter, streamed(usage=True), [stream])
    assert (
        translate(adapter, streamed(usage=True), [stream[at : at + 1] for at in range(len(stream))]) == whole
    )
    for cut in range(len(stream)):
        assert translate(adapter, streamed(usage=True), [stream[:cut], stream[cut:]]) == whole
    assert not any("�" in item.data.decode() for item in whole.items)


@pytest.mark.services
@pytest.mark.parametrize("name", ["stream", "tool_stream"])
def test_broken_off_at_every_byte(adapter: Adapter, samples: Samples, name: str):
    """Case 24: a stream that ends too early is not terminal, gives no finish it did not get, and no fault of
    its own: whoever holds it sees that the end is missing."""
    stream: bytes = getattr(samples, name)
    whole = translate(adapter, streamed(usage=True), [stream])
    for cut in range(len(stream)):
        part = translate(adapter, streamed(usage=True), [stream[:cut]])
        assert part.items == whole.items[: len(part.items)]
        assert part.terminal == (Part.DONE in part.parts)


def test_error_in_stream(adapter: Adapter, samples: Samples):
    """Case 22: what came before the error counts; the error's own words stay here."""
    items = iter(translator(adapter, streamed()).feed(samples.error_in_stream))
    assert [next(items).part, next(items).part] == [Part.LIFECYCLE, Part.CONTENT]
    with pytest.raises(StreamFault) as caught:
        next(items)
    assert caught.value.fault.walk
    assert caught.value.fault.outcome == "error_event"
    assert_safe(caught.value.fault.error)


def test_an_endless_line(adapter: Adapter, samples: Samples):
    """Case 9: more than the limit without an end is a fault, with bounded memory."""
    stream = translator(adapter, streamed(), limit=64 * 1024)
    pieces = [samples.endless, *[b"x" * 1024] * 100]
    fed = (item for piece in pieces for item in stream.feed(piece))
    with pytest.raises(StreamFault, match="event_too_large"):
        list(fed)


@given(pieces=st.lists(st.binary(max_size=30), max_size=6))
def test_odd_streams(kind: ProviderKind, pieces: bytes):
    """Arbitrary bytes give items or a ``StreamFault``, nothing else."""
    consume(ADAPTERS[kind], pieces)


@given(data=st.data())
def test_damaged_streams(kind: ProviderKind, data: st.DataObject):
    """So do good streams with some bytes replaced; every item is a JSON object with choices."""
    stream = bytearray(data.draw(st.sampled_from([SAMPLES[kind].stream, SAMPLES[kind].tool_stream])))
    start = data.draw(st.integers(0, len(stream) - 1))
    stream[start : start + data.draw(st.integers(0, 5))] = data.draw(
        st.sampled_from([b"", b"null", b"{", b"]", b'"', b"1", b"\\ud83d", b"\xff", b"\n", b"\r", b"data: "])
    )
    for item in consume(ADAPTERS[kind], [bytes(stream)]):
        if item.part is not Part.DONE:
            assert b"\n" not in item.data
            assert isinstance(json.loads(item.data.decode(errors="replace"))["choices"], list)


def consume(adapter: Adapter, pieces: Any) -> list[Any]:
    stream = translator(adapter, streamed(usage=True))
    items: list[Any] = []
    try:
        for piece in pieces:
            items.extend(stream.feed(piece))
        items.extend(stream.flush())
    except StreamFault:
        pass
    return items


# -- faults --------------------------------------------------------------------------------------------------

LEAKS = [
    b"",
    b"<html><body>nginx 502 at " + HOST.encode() + b"</body></html>",
    json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}", "code": SECRET}}).encode(),
    json.dumps({"error": {"message": "x", "param": f"https://{HOST}/v1"}}).encode(),
    json.dumps({"error": {"message": f"Incorrect API key: sk-***{SECRET[-4:]}"}}).encode(),
    json.dumps({"error": {"message": f"POST https://{HOST}:8443/base/v1 failed"}}).encode(),
    json.dumps({"error": {"message": "<!DOCTYPE html><html>"}}).encode(),
    json.dumps({"error": {"message": "Error: <a href='x'>y</a>"}}).encode(),
    json.dumps({"error": "plain", "message": SECRET}).encode(),
    json.dumps([{"error": {"message": SECRET}}]).encode(),
    json.dumps({"detail": SECRET}).encode(),
    json.dumps({"error": {"message": 5, "code": 7, "param": [SECRET]}}).encode(),
    b"\xff\xfe",
    b"[" * 2000,
]


def assert_safe(error: ApiError) -> None:
    told = f"{error.message} {error.code} {error.param} {error.type}"
    assert SECRET not in told
    assert SECRET[-4:] not in told
    assert HOST not in told
    assert "<" not in told
    assert "served-as" not in told


@pytest.mark.parametrize("body", LEAKS)
def test_nothing_leaks(adapter: Adapter, body: bytes):
    """No status and no body lets the credential, the endpoint or markup through to the client."""
    for status in STATUSES:
        fault = adapter.fault(status, {}, body, target_of(adapter.kind), now_s=NOW_S)
        assert_safe(fault.error)
        assert fault.error.message


@pytest.mark.parametrize("status", STATUSES)
def test_fault_table(adapter: Adapter, samples: Samples, status: int):
    """Case 23 and the table of errors: who erred, whether another provider may do better, what is told."""
    fault = adapter.fault(status, {"retry-after": "7"}, samples.error, target_of(adapter.kind), now_s=NOW_S)
    told = {
        400: 400, 404: 404, 405: 400, 409: 400, 413: 413, 415: 400, 422: 400,
        401: 502, 403: 502, 402: 429, 408: 504, 429: 429, 500: 500, 503: 503, 504: 504, 529: 503,
    }.get(status, 502)  # fmt: skip
    caller = status in (400, 404, 405, 409, 413, 415, 422)
    assert (fault.error.status, fault.caller, fault.walk) == (told, caller, not caller)
    assert fault.outcome == f"status_{status}"
    if caller:
        assert "top_k is odd" in fault.error.message
        assert not fault.error.retry
    if status in (429, 503, 529):
        assert fault.error.retry_after_s == 7


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "the input length exceeds the context length",
    ],
)
def test_context_length(adapter: Adapter, message: str):
    """A prompt that is too long has OpenAI's code, whatever the provider calls it."""
    body = json.dumps({"error": {"message": message, "code": 400}}).encode()
    fault = adapter.fault(400, {}, body, target_of(adapter.kind), now_s=NOW_S)
    assert (fault.error.code, fault.error.message) == ("context_length_exceeded", message)


def test_the_model_is_named_as_asked(adapter: Adapter):
    """An error that names the provider's model names the client's instead."""
    named = upstream_model_of(adapter.kind)
    body = json.dumps({"error": {"message": f"The model `{named}` does not exist", "code": None}}).encode()
    fault = adapter.fault(404, {}, body, target_of(adapter.kind), now_s=NOW_S)
    assert fault.error.message == "The model `org/asked` does not exist"
    assert fault.error.code == "model_not_found"
