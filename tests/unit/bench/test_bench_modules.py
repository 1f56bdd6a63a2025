"""The benchmarks still run on the code that they measure: nothing else uses them from one release to the next."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import bench
from bench import telemetry

MODULES = sorted(file.stem for file in Path(*bench.__path__).glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name: str) -> None:
    import_module(f"bench.{name}")


def test_what_metrics_cost_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few calls of each kind, and a scrape that has a series for each tenant."""
    monkeypatch.setattr(telemetry, "CALLS", 3)
    monkeypatch.setattr(telemetry, "ROUNDS", 1)
    assert telemetry.measure().keys() == {"one attempt", "three attempts"}
    assert min(telemetry.measure().values()) > 0
    monkeypatch.setattr(telemetry, "TENANTS", 3)
    _, few = telemetry.scrape_ms()
    monkeypatch.setattr(telemetry, "TENANTS", 30)
    assert telemetry.scrape_ms()[1] > few
