"""``sovereign health``: is a processor, a mirror or a mock provider well? For the probes of containers.

A processor is asked at its management socket by the gRPC health protocol, others by an HTTP GET. Deliberately not here:
whatever needs a key (``sovereign status``), and Envoy, which answers ``/healthz`` to anybody.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sovereign_ext.settings import HEALTH_SERVICES, MANAGEMENT_SOCKET


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "health",
        help="say whether a processor, a mirror or a mock provider is well",
        description="Prints what it is, and why; exit code 1 unless it is well. For the probes of containers.",
    )
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--run-dir", type=Path, metavar="DIR", help="of a processor: its Unix sockets")
    whom.add_argument("--url", metavar="URL", help="of anything else: a GET has to be answered with 2xx")
    parser.add_argument(
        "--service",
        choices=HEALTH_SERVICES,
        default="readiness",
        help="what a processor is asked (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout-s", type=float, default=5.0, metavar="S", help="give up after it (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    if args.run_dir is not None:
        well, said = _processor(args.run_dir / MANAGEMENT_SOCKET, args.service, args.timeout_s)
    else:
        well, said = _http(args.url, args.timeout_s)
    print(said, file=sys.stdout if well else sys.stderr)
    return 0 if well else 1


def _processor(socket: Path, service: str, timeout_s: float) -> tuple[bool, str]:
    from sovereign_ext.management.probe import check

    try:
        status = check(socket, service, timeout_s)
    except ConnectionError as error:
        return False, f"{service}: {error}"
    return status == "SERVING", f"{service}: {status}"


def _http(url: str, timeout_s: float) -> tuple[bool, str]:
    import http.client
    from urllib.parse import urlsplit

    from sovereign_ext.errors import ConfigError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError(f"--url: expected http://HOST:PORT/PATH, got {url!r}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return False, f"{url}: no answer ({getattr(error, 'strerror', None) or type(error).__name__})"
    finally:
        connection.close()
    return 200 <= status < 300, f"{url}: {status}"
