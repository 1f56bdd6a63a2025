"""Writes ``envoy/``: what `sovereign envoy render` makes of the configurations in ``envoy/example``.

Checked in, so that it can be read without installing anything, and a change of Envoy's configuration shows in review.

    python scripts/envoy.py            writes them
    python scripts/envoy.py --check    exits 1 and names what is not as it would be written
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

from sovereign_ext.cli.main import main as sovereign

ROOT = Path(__file__).resolve().parent.parent
ENVOY = ROOT / "envoy"
PLACES = (
    *("--run-dir", "/run/sovereign"),
    *("--envoy-dir", "/run/sovereign/envoy"),
    *("--config-dir", "/etc/sovereign"),
)
IMAGE = ("--image", "registry.example/sovereign-router:0.1.0")
WORKLOAD = ("--workload", "spiffe://clinic.example/ns/prod/sa/triage")
CASES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (".", "gateway", "gateway.yaml", ("--listen", "0.0.0.0:8443", "--public-port", "443")),
    (".", "sidecar", "sidecar.yaml", WORKLOAD),
    ("workers", "gateway", "gateway.yaml", ("--workers", "2")),
    ("snippet", "snippet", "gateway.yaml", ()),
    ("xds", "xds", "gateway.yaml", ()),
    ("mesh/istio", "istio", "mesh.yaml", IMAGE),
    ("mesh/envoy-gateway", "envoy-gateway", "mesh.yaml", IMAGE),
    ("mesh/kgateway", "kgateway", "mesh.yaml", (*IMAGE, "--below-1.40")),
)
"""Directory below ``envoy/``, mode, file in ``envoy/example``, and what is asked for besides."""


def render(out: Path) -> None:
    """Write all of it below ``out``. Descriptors, which are not text, are left out."""
    for directory, mode, file, options in CASES:
        what = ("--mode", mode, "--config", str(ENVOY / "example" / file), "--out", str(out / directory))
        with contextlib.redirect_stdout(io.StringIO()):
            code = sovereign(["envoy", "render", *what, *PLACES, *options])
        assert code == 0, (mode, file)
    for descriptors in out.rglob("*.pb"):
        descriptors.unlink()


def differences(found: Path) -> list[str]:
    """Files of ``found`` that are not in ``envoy/`` as they are, and those that are there and should not be."""
    made = {path.relative_to(found) for path in found.rglob("*.yaml")}
    there = {
        path.relative_to(ENVOY)
        for path in ENVOY.rglob("*.yaml")
        if path.relative_to(ENVOY).parts[0] != "example"
    }
    changed = {path for path in made & there if (found / path).read_bytes() != (ENVOY / path).read_bytes()}
    return sorted(str(path) for path in changed | (made ^ there))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        render(ENVOY)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        render(Path(directory))
        found = differences(Path(directory))
    for name in found:
        print(f"envoy/{name} is not what is rendered; run scripts/envoy.py")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
