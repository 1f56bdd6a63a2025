"""PolicyService: what a call would be decided, who may see how much of it, and that asking changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from management_world import CONFIG, World, world

from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import Config
from sovereign_ext.management import evaluate
from sovereign_ext.management.evaluate import facts_of
from sovereign_ext.routing.health import State, Verdict

pytestmark = pytest.mark.services

POLICIES = Config.model_validate(
    {
        **CONFIG.model_dump(),
        "tenants": [
            {
                **CONFIG.tenants[0].model_dump(),
                "policies": ["alpha-only", "beta-only", "cheap", "sealed"],
            },
            CONFIG.tenants[1].model_dump(),
        ],
        "policies": [
            {"id": "alpha-only", "providers": ["alpha"]},
            {"id": "beta-only", "providers": ["beta"]},
            {"id": "any", "fallback": {"max_attempts": 2}, "shadows": ["cheap"]},
            {"id": "cheap", "cost_cap_usd": "0.001", "providers": ["beta", "alpha"]},
            {
                "id": "sealed",
                "required_tier": "sealed",
                "condition": "tenant != 'acme'",
                "shadows": ["cheap"],
            },
        ],
        "deployments": [
            {
                **deployment.model_dump(),
                **(
                    {"price": {"input_per_mtok": "1", "output_per_mtok": "2"}}
                    if "beta" in deployment.id
                    else {}
                ),
            }
            for deployment in CONFIG.deployments
        ],
    }
)


def run(directory: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with world(directory, POLICIES) as here:
            await asyncio.wait_for(scenario(here), 30)

    asyncio.run(all_of_it())


async def evaluated(here: World, policy: str, key: str = "admin", **fields: Any) -> dict[str, Any]:
    """The answer as JSON without what is empty."""
    fields = {"model": "org/small", **fields}
    answer = await here.call("PolicyService.EvaluatePolicy", key=key, name=f"policies/{policy}", **fields)
    assert answer.code is grpc.StatusCode.OK, answer.text
    return MessageToDict(answer.message, preserving_proto_field_name=True)


async def refused(here: World, policy: str, key: str = "admin", **fields: Any) -> tuple[grpc.StatusCode, str]:
    fields = {"model": "org/small", **fields}
    answer = await here.call("PolicyService.EvaluatePolicy", key=key, name=policy, **fields)
    return answer.code, answer.text


def struct(value: dict[str, Any]) -> struct_pb2.Struct:
    return ParseDict(value, struct_pb2.Struct())


def test_an_admin_sees_what_was_expected_and_what_came(tmp_path: Path) -> None:
    """Every deployment of the model, eligible or not, in file order, with all that is known of it."""

    async def scenario(here: World) -> None:
        found = await evaluated(here, "cheap", prompt_tokens=100, max_tokens=500)
        assert found["policy"] == "policies/cheap"
        assert found["policy_digest"] == "sha256:" + here.snapshot.policy_digests["cheap"].hex()
        assert found["request"] == {"capability": "chat", "prompt_tokens": "100", "max_tokens": "500"}
        assert [each["deployment"] for each in found["deployments"]] == [
            "alpha-small",
            "beta-small",
            "gamma-small",
        ]
        assert [each.get("eligible", False) for each in found["deployments"]] == [False] * 3
        alpha, beta, gamma = (each["failed"] for each in found["deployments"])
        assert alpha == [
            {"rule": "cost", "expected": "an estimate of at most 0.001 USD", "actual": "no price"}
        ]
        assert beta[0]["actual"] == "0.0011 USD"
        assert [failure["rule"] for failure in gamma] == ["provider", "cost"]
        assert found["deployments"][1]["cost_nano_usd"] == "1100000"
        assert found["deployments"][1]["tier"] == "open"
        assert "order" not in found
        assert found["refusal"]["status"] == 403
        assert found["refusal"]["code"] == "no_eligible_deployment"
        cheaper = await evaluated(here, "cheap", prompt_tokens=100, max_tokens=450)
        assert cheaper["order"] == ["beta-small"]
        assert "refusal" not in cheaper

    run(tmp_path, scenario)


def test_a_tenant_sees_what_is_expected_of_what_it_could_reach(tmp_path: Path) -> None:
    """Not what came, no price, no measurement, no shadow, and no deployment that is out of its reach."""

    async def scenario(here: World) -> None:
        found = await evaluated(here, "sealed", key="acme")
        assert [each["deployment"] for each in found["deployments"]] == [
            "alpha-small",
            "beta-small",
            "gamma-small",
        ]
        for each in found["deployments"]:
            assert each["failed"] == [
                {"rule": "tier", "expected": "at least sealed"},
                {"rule": "condition", "expected": "the policy's condition to be true"},
            ]
            assert not {"cost_nano_usd", "p95_ms"} & set(each)
            assert each["tier"] == "open"
        assert "shadows" not in found
        acme, globex = POLICIES.tenants
        narrow = acme.model_copy(update={"policies": ("beta-only",)})
        here.directory.follow(POLICIES.model_copy(update={"tenants": (narrow, globex)}))
        found = await evaluated(here, "beta-only", key="acme")
        assert [each["deployment"] for each in found["deployments"]] == ["beta-small"]
        assert found["order"] == ["beta-small"]

    run(tmp_path, scenario)


def test_a_policy_that_is_not_in_use_here_yet_reaches_nothing(tmp_path: Path) -> None:
    """A tenant is known as soon as it is committed, its policies when they are in use: the one may come first."""

    async def scenario(here: World) -> None:
        early = here.directory.tenant("acme")
        assert early is not None
        early = early.model_copy(update={"policies": (*early.policies, "to-come")})
        here.directory._declared_tenants["acme"] = early
        shown = await evaluated(here, "alpha-only", "acme")
        assert [each["deployment"] for each in shown["deployments"]] == [
            "alpha-small",
            "beta-small",
            "gamma-small",
        ]
        assert (await refused(here, "policies/to-come", "acme"))[0] is grpc.StatusCode.NOT_FOUND

    run(tmp_path, scenario)


def test_a_condition_on_the_tenant_is_evaluated_as_whose_call_it_would_be(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        for tenant, rules in (("", ["tier"]), ("globex", ["tier"]), ("acme", ["tier", "condition"])):
            found = await evaluated(here, "sealed", tenant=tenant)
            assert [failure["rule"] for failure in found["deployments"][0]["failed"]] == rules

    run(tmp_path, scenario)


def test_the_order_is_the_one_that_a_call_would_have(tmp_path: Path) -> None:
    """Cool-downs and limits leave deployments out, with the reason; when nobody is left, the refusal is the call's."""

    async def scenario(here: World) -> None:
        found = await evaluated(here, "any")
        assert found["order"] == ["alpha-small", "beta-small"]
        assert [each.get("skipped", "") for each in found["deployments"]] == ["", "", "max_attempts"]
        alpha = here.snapshot.deployments["alpha-small"]
        here.health.report(alpha, Verdict.FAILURE, here.monotonic, reason="x", status=429, retry_after_s=30)
        found = await evaluated(here, "any")
        assert found["order"] == ["beta-small", "gamma-small"]
        assert [each.get("skipped", "") for each in found["deployments"]] == ["cooling", "", ""]
        found = await evaluated(here, "alpha-only")
        assert (found["refusal"]["status"], found["refusal"]["code"]) == (429, "rate_limit_exceeded")

    run(tmp_path, scenario)


def test_asking_changes_nothing(tmp_path: Path) -> None:
    """No probe of a half-open deployment is claimed, nothing is counted, nothing is written into the log."""

    async def scenario(here: World) -> None:
        alpha = here.snapshot.deployments["alpha-small"]
        here.health.report(alpha, Verdict.FAILURE, here.monotonic, reason="x", status=429, retry_after_s=1)
        here.monotonic += 5
        before = here.health.snapshot_view(here.monotonic)
        assert before[0].state is State.HALF_OPEN
        for _ in range(3):
            found = await evaluated(here, "alpha-only")
            assert found["order"] == ["alpha-small"]
        assert here.health.snapshot_view(here.monotonic) == before
        assert here.health.blocked("alpha-small", here.monotonic) is None
        assert here.log.status().size == 0

    run(tmp_path, scenario)


def test_latency_is_measured_and_shadows_are_shown_to_admins(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        beta = here.snapshot.deployments["beta-small"]
        here.health.report(beta, Verdict.SUCCESS, here.monotonic, latency_s=0.2)
        found = await evaluated(here, "any", prompt_tokens=10, max_tokens=10)
        assert 190 <= int(found["deployments"][1]["p95_ms"]) <= 210
        assert found["shadows"] == [
            {
                "policy": "policies/cheap",
                "policy_digest": "sha256:" + here.snapshot.policy_digests["cheap"].hex(),
                "eligible": ["beta-small"],
                "rejected": [
                    {"deployment": "alpha-small", "rules": ["cost"]},
                    {"deployment": "gamma-small", "rules": ["provider", "cost"]},
                ],
                "plan_changes": True,
            }
        ]

    run(tmp_path, scenario)


def test_the_body_of_a_call_is_measured_as_a_call_would_be(tmp_path: Path) -> None:
    """Whole numbers stay whole on their way through a Struct; a bad body is refused as the model API refuses it."""

    async def scenario(here: World) -> None:
        body = {
            "model": "org/large",
            "messages": [{"role": "user", "content": "x" * 300}],
            "max_completion_tokens": 20,
            "n": 2,
        }
        found = await evaluated(here, "any", model="", request=struct(body))
        assert found["model"] == "org/large"
        assert found["request"] == {"capability": "chat", "prompt_tokens": "108", "max_tokens": "40"}
        found = await evaluated(here, "any", request=struct(body))
        assert found["model"] == "org/small"
        found = await evaluated(
            here, "any", capability="embeddings", request=struct({"input": [1, 2, 3], "dimensions": 8})
        )
        assert found["request"] == {"capability": "embeddings", "prompt_tokens": "3", "max_tokens": "0"}
        assert [each["failed"][0]["rule"] for each in found["deployments"]] == ["capability"] * 3
        code, text = await refused(here, "policies/any", request=struct({"messages": []}))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "'messages' is empty" in text

    run(tmp_path, scenario)


def test_large_bodies_are_read_beside_the_event_loop_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one takes seconds at worst, and anybody with a key may ask: calls are decided meanwhile."""
    threads: list[threading.Thread] = []
    at_once = threading.Lock()

    def measured(*given: Any) -> Any:
        assert at_once.acquire(blocking=False), "two are read at the same time"
        threads.append(threading.current_thread())
        try:
            return facts_of(*given)
        finally:
            at_once.release()

    monkeypatch.setattr(evaluate, "facts_of", measured)

    async def scenario(here: World) -> None:
        for length, count in ((300, 1), (evaluate.AT_ONCE_BYTES, 4)):
            body = struct({"messages": [{"role": "user", "content": "x" * length}]})
            await asyncio.gather(*(evaluated(here, "any", request=body) for _ in range(count)))

    run(tmp_path, scenario)
    assert [each is threading.main_thread() for each in threads] == [True, *[False] * 4]


@pytest.mark.parametrize(
    ("key", "fields", "code", "text"),
    [
        (None, {}, grpc.StatusCode.UNAUTHENTICATED, ""),
        ("admin", {"name": "policies/nope"}, grpc.StatusCode.NOT_FOUND, "no such policy"),
        ("acme", {"name": "policies/any"}, grpc.StatusCode.NOT_FOUND, "no such policy"),
        ("admin", {"name": "any"}, grpc.StatusCode.INVALID_ARGUMENT, "policies/{policy}"),
        ("admin", {"model": "nope"}, grpc.StatusCode.NOT_FOUND, "no such model"),
        ("globex", {"model": "nope"}, grpc.StatusCode.NOT_FOUND, "does not exist"),
        ("admin", {"model": ""}, grpc.StatusCode.INVALID_ARGUMENT, "model is needed"),
        ("admin", {"capability": "images"}, grpc.StatusCode.INVALID_ARGUMENT, "chat, embeddings"),
        ("admin", {"prompt_tokens": -1}, grpc.StatusCode.INVALID_ARGUMENT, "negative"),
        ("admin", {"max_tokens": -1}, grpc.StatusCode.INVALID_ARGUMENT, "negative"),
        ("admin", {"prompt_tokens": 1, "request": struct({})}, grpc.StatusCode.INVALID_ARGUMENT, "either"),
        ("admin", {"tenant": "nope"}, grpc.StatusCode.NOT_FOUND, "no such tenant"),
        ("globex", {"tenant": "acme"}, grpc.StatusCode.PERMISSION_DENIED, "only admins"),
        ("globex", {"tenant": "globex"}, grpc.StatusCode.OK, ""),
    ],
)
def test_refusals(
    tmp_path: Path, key: str | None, fields: dict[str, Any], code: grpc.StatusCode, text: str
) -> None:
    async def scenario(here: World) -> None:
        asked = {"name": "policies/any", "model": "org/small", **fields}
        answer = await here.call("PolicyService.EvaluatePolicy", key=key, **asked)
        assert answer.code is code
        assert text in answer.text

    run(tmp_path, scenario)


def test_policies_are_listed_with_document_and_digest(tmp_path: Path) -> None:
    """Admins see all, tenants theirs; the digest is that of the document shown."""

    async def scenario(here: World) -> None:
        for key, names in (
            ("admin", ["alpha-only", "any", "beta-only", "cheap", "sealed"]),
            ("acme", ["alpha-only", "beta-only", "cheap", "sealed"]),
            ("globex", ["any"]),
        ):
            token, found = "", []
            while True:
                answer = await here.call("PolicyService.ListPolicies", key=key, page_size=2, page_token=token)
                found += list(answer.message.policies)
                token = answer.message.next_page_token
                if not token:
                    break
            assert [policy.name for policy in found] == [f"policies/{name}" for name in names]
            for policy in found:
                document = _whole(MessageToDict(policy.document))
                assert policy.digest == "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()
                one = await here.call("PolicyService.GetPolicy", key=key, name=policy.name)
                assert one.message == policy
        assert document["fallback"] == {"enabled": True, "max_attempts": 2}
        for key, name in (("globex", "policies/cheap"), ("admin", "policies/nope")):
            answer = await here.call("PolicyService.GetPolicy", key=key, name=name)
            assert (answer.code, answer.text) == (grpc.StatusCode.NOT_FOUND, "there is no such policy")

    run(tmp_path, scenario)


def _whole(value: Any) -> Any:
    """As a JSON parser reads what the transcoder writes: 2 and not 2.0."""
    return json.loads(json.dumps(value), parse_float=lambda text: int(float(text)))
