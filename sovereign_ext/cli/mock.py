"""``sovereign mock``: run mock providers, one or several in one process. See docs/reference/mock.md.

Options after ``--kind`` belong to that server, up to the next ``--kind``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovereign_ext.mock.server import MockServer

KINDS = ("openai", "vllm", "ollama", "anthropic", "bedrock", "vertex", "mock")


@dataclass(slots=True)
class Spec:
    """One server as asked for on the command line."""

    kind: str
    host: str = "127.0.0.1"
    port: int = 0
    faults: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    tls_cert: str | None = None
    tls_key: str | None = None
    control: bool = True


class _Open(argparse.Action):
    """``--kind`` begins a new server."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """See ``argparse.Action``."""
        namespace.servers = [*(namespace.servers or []), Spec(kind=values)]


class _Set(argparse.Action):
    """Other options describe the server begun last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """See ``argparse.Action``."""
        if not namespace.servers:
            parser.error(f"{option_string} belongs after a --kind")
        spec: Spec = namespace.servers[-1]
        if self.nargs == 0:
            setattr(spec, self.dest, self.const)
        elif isinstance(getattr(spec, self.dest), list):
            getattr(spec, self.dest).append(values)
        else:
            setattr(spec, self.dest, values)


def register(subparsers: Any) -> None:
    """Add the subcommand to ``argparse`` subparsers; ``run`` is its ``run`` default."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "mock",
        help="run mock providers that speak real wire formats",
        description="Repeat --kind for several servers; options belong to the --kind before them.",
    )
    parser.set_defaults(run=run, servers=None)
    parser.add_argument(
        "--kind", choices=KINDS, action=_Open, required=True, help="wire format; begins a server"
    )
    described = [
        parser.add_argument(
            "--port", type=_port, metavar="N", action=_Set, help="TCP port (default: a free one)"
        ),
        parser.add_argument(
            "--host", metavar="ADDRESS", action=_Set, help="where to listen (default 127.0.0.1)"
        ),
        parser.add_argument(
            "--fault",
            dest="faults",
            metavar="SPEC",
            action=_Set,
            help="JSON, or key=value,… like status=503,times=2",
        ),
        parser.add_argument(
            "--model", dest="models", metavar="NAME", action=_Set, help="a name for the model list"
        ),
        parser.add_argument(
            "--tls-cert", metavar="FILE", action=_Set, help="PEM certificate chain: serve HTTPS"
        ),
        parser.add_argument("--tls-key", metavar="FILE", action=_Set, help="PEM private key of --tls-cert"),
        parser.add_argument(
            "--no-control",
            dest="control",
            nargs=0,
            const=False,
            action=_Set,
            help="switch /_mock/… off: it shows the credentials it received",
        ),
    ]
    for action in described:
        action.default = argparse.SUPPRESS


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. 0 after a stop, 2 for options that cannot be used."""
    import uvloop

    from sovereign_ext.errors import CallerError

    try:
        servers = [_server(spec) for spec in args.servers]
    except CallerError as error:
        print(f"sovereign mock: {error.message}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"sovereign mock: {error.filename or 'TLS files'}: {error.strerror or error}", file=sys.stderr)
        return 2
    try:
        status: int = uvloop.run(_serve(servers))
    except OSError as error:
        print(f"sovereign mock: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 2
    return status


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a TCP port")
    return number


def _server(spec: Spec) -> MockServer:
    import ssl

    from sovereign_ext.errors import CallerError
    from sovereign_ext.mock.faults import rule_from_text
    from sovereign_ext.mock.server import MockServer

    context = None
    if (spec.tls_cert is None) != (spec.tls_key is None):
        raise CallerError(400, "--tls-cert and --tls-key belong together")
    if spec.tls_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(spec.tls_cert, spec.tls_key)
    return MockServer(
        spec.kind,
        host=spec.host,
        port=spec.port,
        faults=[rule_from_text(text) for text in spec.faults],
        models=tuple(spec.models),
        control=spec.control,
        tls=context,
    )


async def _serve(servers: Sequence[MockServer]) -> int:
    import asyncio
    import signal
    from contextlib import AsyncExitStack

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server)
            print(f"mock {server.kind} {server.url}", flush=True)
        await stopped.wait()
    return 0
