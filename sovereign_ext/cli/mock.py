"""``sovereign mock``: run mock providers and attestation verifiers, one or several in one process.

See docs/reference/mock.md. Options after ``--kind`` or ``--verifier`` belong to that server, up to the next one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovereign_ext.mock.server import MockServer
    from sovereign_ext.mock.verifier import Verifier

VERIFIER = "verifier"
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
    certificate: str | None = None
    signing_key: str | None = None
    tokens: dict[str, Any] = field(default_factory=dict)


class _Open(argparse.Action):
    """``--kind`` or ``--verifier`` begins a new server."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """See ``argparse.Action``."""
        namespace.servers = [*(namespace.servers or []), Spec(kind=values or VERIFIER)]


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
            parser.error(f"{option_string} belongs after a --kind or --verifier")
        spec: Spec = namespace.servers[-1]
        of_verifier = self.dest in ("certificate", "signing_key") or self.dest.startswith("tokens.")
        if of_verifier and spec.kind != VERIFIER:
            parser.error(f"{option_string} belongs after a --verifier")
        if self.dest.startswith("tokens."):
            spec.tokens[self.dest.removeprefix("tokens.")] = self.const if self.nargs == 0 else values
        elif self.nargs == 0:
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
        description="Repeat --kind and --verifier for several servers; options belong to the one before them.",
    )
    parser.set_defaults(run=run, servers=None, usage_error=parser.error)
    parser.add_argument("--kind", choices=KINDS, action=_Open, help="wire format; begins a server")
    parser.add_argument(
        "--verifier", nargs=0, action=_Open, help="a mock attestation verifier; begins a server"
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
        *_verifier_options(parser),
    ]
    for action in described:
        action.default = argparse.SUPPRESS


def _verifier_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [
        parser.add_argument(
            "--certificate",
            metavar="FILE",
            action=_Set,
            help="PEM certificate that the verifier's tokens are bound to",
        ),
        parser.add_argument(
            "--signing-key",
            metavar="FILE",
            action=_Set,
            help="PEM P-256 key of the verifier, made if there is no such file",
        ),
        parser.add_argument(
            "--measurement", dest="tokens.measurement", metavar="TEXT", action=_Set, help="what tokens say"
        ),
        parser.add_argument(
            "--issuer", dest="tokens.issuer", metavar="TEXT", action=_Set, help="what tokens say"
        ),
        parser.add_argument(
            "--lifetime",
            dest="tokens.lifetime_s",
            type=int,
            metavar="S",
            action=_Set,
            help="seconds of a token",
        ),
        parser.add_argument(
            "--debug",
            dest="tokens.debug",
            nargs=0,
            const=True,
            action=_Set,
            help="tokens say that debugging is on",
        ),
    ]


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. 0 after a stop, 2 for options that cannot be used."""
    if not args.servers:
        args.usage_error("give --kind or --verifier")
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
        wire=_verifier(spec) if spec.kind == VERIFIER else None,
    )


def _verifier(spec: Spec) -> Verifier:
    import msgspec

    from sovereign_ext.errors import CallerError
    from sovereign_ext.mock.verifier import Behaviour, Verifier
    from sovereign_ext.mock.verifier_token import Signer

    if spec.certificate is None:
        raise CallerError(400, "--verifier takes --certificate")
    try:
        behaviour = msgspec.convert(spec.tokens, Behaviour)
    except msgspec.ValidationError as error:
        raise CallerError(400, f"--verifier: {error}") from None
    return Verifier(
        Path(spec.certificate).read_bytes(),
        signer=None if spec.signing_key is None else Signer.from_file(Path(spec.signing_key)),
        behaviour=behaviour,
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
