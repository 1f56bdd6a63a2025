"""Which configuration is in use, over gRPC."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from management_world import World, run

pytestmark = pytest.mark.services


def test_admins_see_version_digest_and_the_faults_of_a_newer_file(tmp_path: Path) -> None:
    """A refused edit shows with its line and field, so that nobody believes it is in force."""

    async def scenario(world: World) -> None:
        config = (await world.call("ConfigService.GetConfig", key="admin")).message
        assert (config.name, config.version, config.digest) == ("config", 1, "sha256:test")
        assert [(fault.line, fault.field, fault.reason) for fault in config.faults] == [
            (7, "version", "expected a number")
        ]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "code"),
    [("acme", grpc.StatusCode.PERMISSION_DENIED), ("unknown", grpc.StatusCode.UNAUTHENTICATED)],
)
def test_nobody_else_does(tmp_path: Path, key: str, code: grpc.StatusCode) -> None:
    """A tenant's key opens other services, not this one."""

    async def scenario(world: World) -> None:
        assert (await world.call("ConfigService.GetConfig", key=key)).code is code

    run(tmp_path, scenario)
