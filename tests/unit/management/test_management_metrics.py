"""Metrics for scrapers with a key, over gRPC."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from management_world import World, run
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.services


@pytest.mark.parametrize("key", ["admin", "auditor"])
def test_who_sees_all_tenants_sees_them(tmp_path: Path, key: str) -> None:
    """Gauges are as the log and the configuration stand."""

    async def scenario(world: World) -> None:
        answer = await world.call("MetricsService.GetMetrics", key=key)
        assert answer.message.content_type == "text/plain; version=0.0.4; charset=utf-8"
        families = text_string_to_metric_families(answer.message.data.decode())
        values = {sample.name: sample.value for family in families for sample in family.samples}
        assert values["sovereign_config_faults"] == 1
        assert values["sovereign_log_entries"] >= values["sovereign_log_published_entries"]
        assert values["sovereign_ready"] == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("acme-auditor", grpc.StatusCode.PERMISSION_DENIED),
        ("acme-admin", grpc.StatusCode.PERMISSION_DENIED),
        ("acme", grpc.StatusCode.PERMISSION_DENIED),
        ("unknown", grpc.StatusCode.UNAUTHENTICATED),
        (None, grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_nobody_else_does(tmp_path: Path, key: str | None, code: grpc.StatusCode) -> None:
    """They tell of all tenants: not for whoever is bound to one."""

    async def scenario(world: World) -> None:
        assert (await world.call("MetricsService.GetMetrics", key=key)).code is code

    run(tmp_path, scenario)
