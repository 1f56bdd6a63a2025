"""The checked-in renderings of ``envoy/``, and a machine on which an Envoy can read them."""

from __future__ import annotations

import contextlib
import datetime
import io
import subprocess
from pathlib import Path
from typing import Any

import yaml
from our_scripts import script

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.cli.supervise.stack import envoy_binary
from sovereign_ext.envoyconf.clusters import system_roots
from sovereign_ext.management import descriptor

ROOT = Path(__file__).parents[3]
ENVOY = ROOT / "envoy"
XDS = ENVOY / "xds"
PLACES: tuple[str, ...] = script("envoy").PLACES
"""Options of `sovereign envoy render` that say where things are, as in the checked-in renderings."""


def walk(value: Any) -> list[dict[str, Any]]:
    """Every mapping in a document."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [found for each in inner for found in walk(each)]


class Machine:
    """A directory in which the paths of the renderings exist: the processor's files, certificates, roots."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._envoy_dir = directory / "run" / "envoy"
        self._envoy_dir.mkdir(parents=True)
        tls = directory / "etc" / "tls"
        tls.mkdir(parents=True)
        now = datetime.datetime.now(datetime.UTC)
        root = make_root("root", now)
        server = make_server(root, "gateway", now)
        (tls / "tls.crt").write_bytes(server.certificate_pem)
        (tls / "tls.key").write_bytes(server.key_pem)
        (tls / "workloads.crt").write_bytes(root.certificate_pem)
        for file in XDS.glob("*.yaml"):
            (self._envoy_dir / file.name).write_text(self.here(file.read_text()))
        self._render_older()
        (self._envoy_dir / "management.pb").write_bytes(descriptor.descriptor_set())

    def _render_older(self) -> None:
        """What the processor keeps for an Envoy below 1.40, which is not checked in."""
        older = self._directory / "older"
        config = ENVOY / "example" / "gateway.yaml"
        argv = [
            "envoy",
            "render",
            "--below-1.40",
            "--mode",
            "xds",
            "--config",
            str(config),
            "--out",
            str(older),
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            assert sovereign(argv) == 0
        name = "ingress-routes-below-1.40.yaml"
        (self._envoy_dir / name).write_text((older / name).read_text())

    def here(self, text: str) -> str:
        """A rendering with its paths below this directory."""
        for path, place in (
            ("/run/sovereign", self._directory / "run"),
            ("/etc/sovereign", self._directory / "etc"),
            ("/etc/ssl/certs/ca-certificates.crt", system_roots()),
        ):
            text = text.replace(path, str(place))
        return text

    def validate(self, text: str, binary: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`envoy --mode validate` of a bootstrap, by ``binary``, else by our Envoy."""
        file = self._directory / "validated.yaml"
        file.write_text(self.here(text))
        return subprocess.run(
            [str(binary or envoy_binary()), "--mode", "validate", "-c", str(file), "--log-level", "warning"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
