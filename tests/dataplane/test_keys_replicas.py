"""Two routers that share a database: what one is told of keys holds in the other within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from replicas_world import Replicas
from services import PostgresDatabase, Valkey
from stack import eventually
from test_keys import MODEL, REVOKED_WITHIN_S, done, new_tenant, status

from sovereign_ext.mock.thread import RunningMock

pytestmark = [pytest.mark.dataplane, pytest.mark.services]


@pytest.fixture
def replicas(postgres: PostgresDatabase, valkey: Valkey) -> Iterator[Replicas]:
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        both = Replicas(2, postgres, valkey)
        both.config.policy("default")
        both.config.policy("other")
        both.config.provider("one", "openai", mock.url)
        both.config.model(MODEL, ["one"])
        yield running.enter_context(both)


def test_what_one_router_is_told_holds_in_both(replicas: Replicas) -> None:
    """Made, rotated and revoked here, used there; in turn, so that each is the one that is told."""
    one, two = replicas.stacks
    new_tenant(one, "shared")
    for number, (here, there) in enumerate([(one, two), (two, one)] * 3):
        made = done(here, "POST", f"tenants/shared/keys?key_id=k{number}", {})
        key = made["secret"]
        assert status(here, key) == (200, "")
        eventually(lambda: status(there, key) == (200, ""), "known to the other", REVOKED_WITHIN_S)  # noqa: B023
        done(here, "POST", f"{made['name']}:revoke", {})
        revoked = time.monotonic()
        while (answer := status(there, key)) == (200, ""):
            assert time.monotonic() < revoked + REVOKED_WITHIN_S, "not revoked within a second"
        assert answer == (401, "revoked_api_key")
        assert status(here, key) == (401, "revoked_api_key")
