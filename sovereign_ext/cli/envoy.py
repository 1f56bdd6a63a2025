"""``sovereign envoy``: configurations for an Envoy that you run yourself, and draining it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.envoyconf.mode import IN_PODS, Mode
from sovereign_ext.settings import ADMIN_SOCKET

if TYPE_CHECKING:
    from sovereign_ext.config.model import Config
    from sovereign_ext.envoyconf.layout import Edge
    from sovereign_ext.envoyconf.pod import Pod

_TIMEOUT_MS = 10_000
_MAX_WORKERS = 32
_POD_RUN, _POD_CONFIG = Path("/run/sovereign"), Path("/etc/sovereign")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("envoy", help="configure an Envoy of your own")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _register_drain(actions)
    render = actions.add_parser(
        "render",
        help="write Envoy's configuration for this sovereign.yaml",
        description="Writes YAML with comments. Paths are where Envoy finds things; nothing has to be there yet.",
    )
    render.add_argument("--mode", choices=[each.value for each in Mode], required=True, help="what to write")
    render.add_argument("--config", type=Path, required=True, metavar="FILE", help="sovereign.yaml")
    render.add_argument("--out", required=True, metavar="DIR", help="where to write; -: standard output")
    _add_places(render)
    render.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="of sovereign.yaml, as Envoy finds it (default: as FILE's)",
    )
    render.add_argument(
        "--listen", type=_address, metavar="HOST:PORT",
        help="where clients connect (default: port 8443 with TLS, else 8080; a sidecar on loopback)",
    )  # fmt: skip
    render.add_argument(
        "--public-port", type=int, metavar="PORT", help="the port that clients see, if a balancer maps it"
    )
    render.add_argument("--access-log", metavar="FILE", help="default: standard output")
    render.add_argument(
        "--workload", metavar="SPIFFE-ID", help="sidecar: who everybody is that can connect to it"
    )
    render.add_argument(
        "--image", metavar="IMAGE", help="istio, envoy-gateway, kgateway: one that has the processor in it"
    )
    render.add_argument(
        "--namespace",
        metavar="NAME",
        help="istio, envoy-gateway, kgateway: of the objects (default: sovereign)",
    )
    render.add_argument(
        "--workers", type=workers, default=1, metavar="N", help="as the processor is told (default: 1)"
    )
    render.add_argument(
        "--below-1.40",
        dest="below_1_40",
        action="store_true",
        help="for Envoy 1.37 to 1.39 (default: 1.40 or newer)",
    )
    render.add_argument(
        "--message-timeout-ms", type=int, default=_TIMEOUT_MS, metavar="MS",
        help="how long Envoy waits for the processor (default: %(default)s)",
    )  # fmt: skip


def _register_drain(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    drain = actions.add_parser(
        "drain",
        help="have Envoy take no new calls, and wait for the open ones",
        description="Before Envoy is stopped. Exit code 0 when no call is open, 1 when some are left.",
    )
    drain.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help=f"where {ADMIN_SOCKET} is")
    drain.add_argument(
        "--accept-s", type=float, default=5.0, metavar="S",
        help="go on accepting connections for so long: balancers need time to notice (default: %(default)s)",
    )  # fmt: skip
    drain.add_argument(
        "--within-s", type=float, default=600.0, metavar="S", help="give up after (default: %(default)s)"
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where a processor and its Envoy meet: the options that both are given."""
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", default=Path("/var/lib/sovereign"),
        help="of the processor (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="Unix sockets (default: STATE/run)")
    parser.add_argument(
        "--envoy-dir",
        type=Path,
        metavar="DIR",
        help="files that the processor keeps for Envoy (default: STATE/envoy)",
    )
    parser.add_argument(
        "--roots", metavar="FILE", default="/etc/ssl/certs/ca-certificates.crt",
        help="CA bundle for providers without one of their own, as Envoy finds it (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return _drain(args) if args.action == "drain" else _render(args)


def _drain(args: argparse.Namespace) -> int:
    import asyncio

    import httpx

    from sovereign_ext.envoyconf.admin import EnvoyAdmin
    from sovereign_ext.errors import StartError

    socket = args.run_dir / ADMIN_SOCKET
    try:
        left = asyncio.run(EnvoyAdmin(str(socket)).drain(accept_s=args.accept_s, within_s=args.within_s))
    except httpx.TransportError:
        raise StartError(f"no Envoy answers on {socket}") from None
    if left:
        print(f"{left} calls are still open after {args.within_s:g} s", file=sys.stderr)
    return 1 if left else 0


def _render(args: argparse.Namespace) -> int:
    import dataclasses
    from datetime import timedelta

    from sovereign_ext.config.load import load
    from sovereign_ext.envoyconf.modes import texts
    from sovereign_ext.envoyconf.render import descriptors
    from sovereign_ext.envoyfiles import layout
    from sovereign_ext.errors import ConfigError
    from sovereign_ext.settings import Settings

    mode = Mode(args.mode)
    config = load(args.config).config
    if args.below_1_40 and args.workers > 1:
        raise ConfigError(
            "--workers needs Envoy 1.40: below, an attempt does not find the worker of its call"
        )
    pod = _pod(args)
    host, port = args.listen or _default_address(mode, config)
    settings = Settings(
        args.config,
        args.state_dir,
        args.run_dir or args.state_dir / "run",
        host,
        port,
        message_timeout=timedelta(milliseconds=args.message_timeout_ms),
        shared_dir=args.envoy_dir,
        roots=args.roots,
        workers=args.workers,
    )
    made = layout(settings, config, _edge(args, config))
    config_dir = args.config_dir or made.config_directory
    made = dataclasses.replace(made, config_directory=config_dir, older=args.below_1_40)
    found = texts(mode, made, config.providers, pod)
    if args.out == "-":
        sys.stdout.write("---\n".join(found.values()))
        return 0
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        (out / name).write_text(text, encoding="utf-8")
        print(out / name)
    if mode in (Mode.SNIPPET, Mode.XDS):
        (out / made.descriptor_file.name).write_bytes(descriptors(made))
        print(out / made.descriptor_file.name)
    return 0


def _pod(args: argparse.Namespace) -> Pod | None:
    """The pod of a mesh's gateway; what is not named in ``args`` is where such a pod has it.

    Raises ``ConfigError`` if an option is missing, or is not for this mode.
    """
    from sovereign_ext.envoyconf.pod import Pod
    from sovereign_ext.errors import ConfigError

    if args.mode not in IN_PODS:
        if args.image is not None or args.namespace is not None:
            raise ConfigError("--image and --namespace are for --mode istio, envoy-gateway and kgateway")
        return None
    if args.workers > 1:
        raise ConfigError(f"--workers is for an Envoy on a host: --mode {args.mode} has more pods instead")
    if args.image is None:
        raise ConfigError(f"--mode {args.mode} needs --image, which the processor's container runs")
    args.run_dir = args.run_dir or _POD_RUN
    args.envoy_dir = args.envoy_dir or args.run_dir / "envoy"
    args.config_dir = args.config_dir or _POD_CONFIG
    return Pod(args.namespace or "sovereign", args.image, args.state_dir, args.config.name)


def _edge(args: argparse.Namespace, config: Config) -> Edge | None:
    """Raises ``ConfigError`` if what was asked for would not hold."""
    import re

    from sovereign_ext.config.trust import SPIFFE_PATTERN
    from sovereign_ext.envoyconf.layout import Edge
    from sovereign_ext.errors import ConfigError

    if args.workload is not None:
        if args.mode != Mode.SIDECAR:
            raise ConfigError("--workload is for --mode sidecar: elsewhere more than one workload connects")
        if re.fullmatch(SPIFFE_PATTERN, args.workload) is None:
            raise ConfigError(
                f"--workload: expected a SPIFFE id such as spiffe://example.org/service, got {args.workload!r}"
            )
        if not config.ingress.trust_forwarded_certificates:
            raise ConfigError("--workload counts only with trust_forwarded_certificates", field="ingress")
    if args.mode == Mode.SNIPPET:
        return None
    return Edge(args.access_log, args.workload, args.public_port)


def _default_address(mode: Mode, config: Config) -> tuple[str, int]:
    port = 8080 if config.ingress.tls is None else 8443
    return ("127.0.0.1" if mode is Mode.SIDECAR else "0.0.0.0", port)  # noqa: S104 - an edge faces everybody


def workers(text: str) -> int:
    """How many processes share an Envoy."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"expected 1 to {_MAX_WORKERS}, got {text!r}")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as ":8443" means elsewhere
