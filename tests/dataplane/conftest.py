"""Fixtures on real Envoy. A stack costs about two seconds, so modules share theirs.

``gateway`` serves for whatever needs no special configuration: three mock providers of different kinds and
the models ``chat``, ``embed``. Modules that need another configuration run their own ``Stack``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.thread import RunningMock


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """One stack for all modules: ``alpha`` (openai), ``beta`` (vllm), ``gamma`` (ollama).

    Tests on it must not break it, and leave no fault armed.
    """
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {}
        for name, kind in (("alpha", "openai"), ("beta", "vllm"), ("gamma", "ollama")):
            mocks[name] = running.enter_context(RunningMock(kind))
            config.provider(name, kind, mocks[name].url)
        config.policy("chain", list(mocks))
        config.policy("one-try", list(mocks), fallback={"enabled": False})
        config.model("chat", mocks)
        config.model("embed", mocks, capabilities=("embeddings",))
        yield Gateway(running.enter_context(Stack(config)), mocks)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the last lines of the logs of the stacks it used."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        used = getattr(value, "stack", value)
        if isinstance(used, Stack):
            report.sections.append((f"logs of {name}", used.logs()))
