"""Bodies of management calls are read before anybody knows whose they are: faults are named, and cost is bounded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from sovereign_ext._gen.sovereign.management.v1 import policies_pb2, tenants_pb2
from sovereign_ext.errors import CallerError, InvalidFields
from sovereign_ext.management import bodies

CREATE = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"].methods_by_name["CreateTenant"]
EVALUATE = policies_pb2.DESCRIPTOR.services_by_name["PolicyService"].methods_by_name["EvaluatePolicy"]


def faults(text: str, method: Any = CREATE) -> dict[str, str]:
    """What is said of a body, by its place; empty for a good one."""
    try:
        bodies.check(method, text.encode())
    except InvalidFields as error:
        return dict(error.fields)
    return {}


def test_every_member_has_its_place_in_the_contract() -> None:
    """Both spellings of JSON are known; opaque messages hold what they like."""
    assert faults('{"default_policy": "p", "limits": [{"tokensIn": 1}]}') == {}
    assert faults('{"limts": [], "limits": [{"perr": 1}, {"per": []}], "default_policy": []}') == {
        "tenant.limts": "unknown field; did you mean limits?",
        "tenant.limits[0].perr": "unknown field; did you mean per?",
        "tenant.limits[1].per": "expected no list",
        "tenant.default_policy": "expected no list",
    }
    assert faults('{"request": {"whatever": [{"it": "is"}]}}', EVALUATE) == {}


def test_a_field_is_given_once() -> None:
    """Also in its two spellings: which of them would hold?"""
    assert faults('{"default_policy": "a", "defaultPolicy": "b"}') == {
        "tenant.defaultPolicy": "is given twice, as default_policy, too"
    }
    with pytest.raises(CallerError, match="names a member twice"):
        bodies.check(CREATE, b'{"default_policy": "a", "default_policy": "b"}')


@pytest.mark.parametrize("text", ["{", '{"a": NaN', "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_no_json(text: str | bytes) -> None:
    """Is said to be none."""
    with pytest.raises(CallerError) as caught:
        bodies.check(CREATE, text if isinstance(text, bytes) else text.encode())
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        {f"limits{number}": 1 for number in range(50_000)},
        {"limits": [{"x": 1}] * 50_000},
    ],
    ids=["members", "items"],
)
def test_faults_are_named_as_far_as_they_help(body: dict[str, Any]) -> None:
    """Anybody may send a body, and this is asked on the loop that serves the model API."""
    text = json.dumps(body).encode()
    began = time.thread_time()
    answer = bodies._answer(CREATE, text).immediate_response
    assert time.thread_time() - began < 0.5
    said = json.loads(answer.body)
    assert (answer.status.code, len(answer.body) < 10_000) == (400, True)
    named = next(each for each in said["details"] if "fieldViolations" in each or "field_violations" in each)
    assert 1 < len(named.get("fieldViolations") or named["field_violations"]) <= bodies.MOST_FAULTS


def test_a_body_has_a_limit() -> None:
    """As the caller's mistake, before any of it is read."""
    with pytest.raises(CallerError) as caught:
        bodies.check(CREATE, b"{" * (bodies.MOST_BYTES + 1))
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")
    refused = bodies._answer(CREATE, b"{" * (bodies.MOST_BYTES + 1))
    assert refused.immediate_response.status.code == 413


def test_a_large_body_does_not_stop_the_loop() -> None:
    """It is read on another thread, so that calls have their turns."""

    def requests() -> list[Any]:
        text = json.dumps({"limits": [{"per": "day"}] * 120_000}).encode()
        head = ext_proc.ProcessingRequest()
        for name, value in ((":method", "POST"), (":path", "/sf/v1/tenants")):
            head.request_headers.headers.headers.add(key=name, raw_value=value.encode())
        body = ext_proc.ProcessingRequest()
        body.request_body.body = text
        return [head, body]

    async def scenario() -> None:
        async def sent() -> AsyncIterator[Any]:
            for each in requests():
                yield each

        turns = 0
        process = bodies.processing(lambda verb, path: CREATE)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        answers = [answer async for answer in process(sent(), None)]
        beside.cancel()
        assert answers[1].HasField("request_body")
        assert turns > 10

    asyncio.run(scenario())
