"""A changed ``sovereign.yaml`` takes effect without a restart and without dropping a stream."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane


@pytest.fixture
def reloading() -> Iterator[Gateway]:
    """A stack of its own; ``one`` serves, ``two`` is there to be added."""
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "two")}
        config = ConfigFile()
        config.provider("one", "openai", mocks["one"].url)
        config.policy("default")
        config.model("chat", ["one"])
        yield Gateway(running.enter_context(Stack(config)), mocks)


def version(stack: Stack) -> int:
    return int(stack.management("/sf/v1/config")["version"])


def reload(stack: Stack) -> None:
    """Write the file and wait until it is in use."""
    before = version(stack)
    stack.config.write(stack.config_file)
    eventually(lambda: version(stack) > before, "the new configuration in use")


def test_an_added_provider_serves_without_a_restart(reloading: Gateway) -> None:
    """Its cluster and routes reach Envoy before any call is planned for it: the first call already works."""
    stack = reloading.stack
    pids = stack.processor.pid, stack.envoy.pid
    assert stack.chat("new").status == 404
    stack.config.provider("two", "openai", reloading.mocks["two"].url, secret=None)
    stack.config.model("new", ["two"])
    reload(stack)
    reply = stack.chat("new")
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "two")
    assert stack.row_of(reply).outcomes == ["ok"]
    assert "new" in [model["id"] for model in stack.models().json["data"]]
    assert (stack.processor.pid, stack.envoy.pid) == pids


def test_calls_during_many_reloads_all_succeed(reloading: Gateway) -> None:
    """Endpoints change under load of one call after the other; none is lost between two configurations."""
    stack, (one, two) = reloading.stack, reloading.mocks.values()
    for turn in range(6):
        stack.config.providers[0]["endpoint"] = (two if turn % 2 == 0 else one).url + "/v1"
        before = version(stack)
        stack.config.write(stack.config_file)
        statuses = [stack.chat("chat").status]
        while version(stack) == before:
            statuses.append(stack.chat("chat").status)
        statuses.append(stack.chat("chat").status)
        assert set(statuses) == {200}
    assert one.requests()
    assert two.requests()


@pytest.mark.parametrize("change", ["other", "changed", "removed"])
def test_a_stream_in_flight_is_not_dropped(reloading: Gateway, change: str) -> None:
    """Whether another provider changes, or its own is changed or removed, the stream goes on to its end."""
    stack, mocks = reloading.stack, reloading.mocks
    mocks["one"].fault(Fault(tokens=400, pace_ms=10))
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        if change == "other":
            stack.config.provider("two", "openai", mocks["two"].url, secret=None)
        else:
            stack.config.providers[0] = {
                "id": "one" if change == "changed" else "two",
                "kind": "openai",
                "endpoint": mocks["two"].url + "/v1",
            }
            stack.config.deployments[0]["provider"] = stack.config.providers[0]["id"]
        reload(stack)
        assert stack.chat("chat", max_tokens=1).status == 200
        reply = running.finish()
    assert (reply.complete, reply.done, reply.finish_reasons) == (True, True, ["stop"])
    assert len(reply.chunks) >= 400
    assert stack.row_of(reply).predicate["result"] == "answered"


def test_clusters_of_a_removed_provider_go_when_its_last_call_has_ended(reloading: Gateway) -> None:
    """Envoy is not left with what nobody uses any more."""
    stack, mocks = reloading.stack, reloading.mocks
    clusters = stack.state_dir / "envoy" / "clusters.yaml"
    assert "provider.one." in clusters.read_text()
    stack.config.providers[0] = {"id": "two", "kind": "openai", "endpoint": mocks["two"].url + "/v1"}
    stack.config.deployments[0]["provider"] = "two"
    reload(stack)
    eventually(lambda: "provider.one." not in clusters.read_text(), "the old cluster to go")
    assert stack.chat("chat").status == 200


def test_a_bad_edit_keeps_the_last_good_configuration_and_says_so(reloading: Gateway) -> None:
    """The fault is named with its line, in the log and in the management API; the next good edit counts."""
    stack = reloading.stack
    good, in_use = stack.config_file.read_text(), version(stack)
    stack.config_file.write_text(good + "surprise: true\n")
    faults = eventually(lambda: stack.management("/sf/v1/config")["faults"], "the fault to show")
    assert [(fault["field"], fault["line"]) for fault in faults] == [("surprise", good.count("\n") + 1)]
    assert version(stack) == in_use
    assert stack.chat("chat").status == 200
    assert "surprise" in stack.logs()
    stack.config.model("again", ["one"])
    reload(stack)
    assert stack.management("/sf/v1/config")["faults"] == []
    assert stack.chat("again").status == 200


def test_what_needs_a_restart_is_refused_like_a_fault(reloading: Gateway) -> None:
    """A new origin would be another log: it is not taken up silently, nor is anything else of that edit."""
    stack = reloading.stack
    stack.config.origin = "sovereign.test/other"
    stack.config.model("more", ["one"])
    stack.config.write(stack.config_file)
    faults = eventually(lambda: stack.management("/sf/v1/config")["faults"], "the fault to show")
    assert [fault["field"] for fault in faults] == ["origin"]
    assert stack.chat("more").status == 404


def test_a_stream_outlives_many_reloads(reloading: Gateway) -> None:
    """Not only the last configuration's clusters are kept, but those of every call in flight."""
    stack, mocks = reloading.stack, reloading.mocks
    mocks["one"].fault(Fault(tokens=500, pace_ms=10))
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        for number in range(3):
            url = f"{mocks['two'].url}/v1"
            stack.config.providers[0] = {"id": f"two-{number}", "kind": "openai", "endpoint": url}
            stack.config.deployments[0]["provider"] = f"two-{number}"
            reload(stack)
        assert "provider.one." in (stack.state_dir / "envoy" / "clusters.yaml").read_text()
        reply = running.finish()
    assert (reply.complete, reply.done) == (True, True)


def test_a_walk_goes_on_to_a_provider_that_was_removed_meanwhile(reloading: Gateway) -> None:
    """A call keeps the plan it was given, to the end, over several reloads."""
    stack, mocks = reloading.stack, reloading.mocks
    stack.config.providers[0]["timeouts"] = {"first_byte_ms": 3000}
    stack.config.provider("two", "openai", mocks["two"].url, secret=None)
    stack.config.policies[0]["providers"] = ["one", "two"]
    stack.config.models.clear()
    stack.config.deployments.clear()
    stack.config.model("chat", ["one", "two"])
    reload(stack)
    mocks["one"].fault(Fault(delay_ms=60_000))
    with ThreadPoolExecutor() as pool:
        call = pool.submit(stack.chat, "chat")
        eventually(mocks["one"].requests, "the first provider is asked")
        stack.config.policies[0]["providers"] = []
        for number in range(2):
            stack.config.providers[:] = [
                {"id": f"other-{number}", "kind": "openai", "endpoint": mocks["two"].url + "/v1"}
            ]
            stack.config.deployments.clear()
            stack.config.models.clear()
            stack.config.model("chat", [f"other-{number}"])
            reload(stack)
        assert not call.done()
        reply = call.result()
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "two")
    assert stack.row_of(reply).outcomes == ["first_byte_timeout", "ok"]


def test_a_processor_restarted_on_a_changed_file_plans_nothing_that_envoy_does_not_know(
    reloading: Gateway,
) -> None:
    """Envoy kept running and has the old clusters; the first call already finds the new ones."""
    stack, mocks = reloading.stack, reloading.mocks
    for turn in range(6):
        stack.processor.end()
        stack.config.providers[0]["endpoint"] = mocks["two" if turn % 2 == 0 else "one"].url + "/v1"
        stack.config.write(stack.config_file)
        stack.start_processor()
        assert stack.chat("chat").status == 200
        # And a change soon afterwards is not taken for one that Envoy has seen in the life before.
        stack.config.providers[0]["timeouts"] = {"total_ms": 5000 + turn}
        before = version(stack)
        stack.config.write(stack.config_file)
        while version(stack) == before:
            assert stack.chat("chat").status == 200
        assert stack.chat("chat").status == 200
