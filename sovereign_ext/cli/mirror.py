"""``sovereign mirror``: runs a log witness and mirror, or prints its keys. See docs/reference/mirror.md.

The work is ``sovereign_ext.mirror``'s.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from sovereign_ext.mirror.service import Mirror
    from sovereign_ext.tlog.policyfile import PolicyLog


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "mirror",
        help="witness and mirror transparency logs",
        description="Cosigns checkpoints that extend those it saw, and keeps a copy of the logs it follows.",
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="keys, checkpoints, copies; made if new"
    )
    parser.add_argument("--name", metavar="NAME", help="what to be called; needed at the first start only")
    parser.add_argument("--listen", type=_address, metavar="HOST:PORT", help="port 0 chooses a free one")
    log = parser.add_mutually_exclusive_group()
    log.add_argument("--log-key", metavar="VKEY", help="verifier key of the log; it names the origin")
    log.add_argument("--log-keys", type=Path, metavar="FILE", help="the log's log-keys.json, which has it")
    parser.add_argument("--log-url", metavar="URL", help="where that log is read; without it, witness only")
    parser.add_argument(
        "--logs", type=Path, metavar="FILE", help="further logs: the log lines of a C2SP tlog-policy file"
    )
    parser.add_argument(
        "--poll-s",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="look for news so often (default: %(default)s)",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM certificate chain: serve HTTPS")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM private key of --tls-cert")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=False)
    key = actions.add_parser(
        "key", help="print the verifier keys; with --name they are made if there are none"
    )
    key.add_argument("--state-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS)
    key.add_argument("--name", metavar="NAME", default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.errors import ConfigError

    if args.state_dir is None:
        raise ConfigError("give --state-dir")
    if args.action == "key":
        from sovereign_ext.mirror.identity import load_identity

        print(load_identity(args.state_dir, args.name).describe())
        return 0
    if args.listen is None:
        raise ConfigError("give --listen")
    logs = _logs(args)
    if not logs:
        raise ConfigError("give --log-key, --log-keys or --logs: there is no log to watch")
    return _serve(args, logs, _tls(args))


def _serve(args: argparse.Namespace, logs: list[PolicyLog], tls: ssl.SSLContext | None) -> int:
    import asyncio
    import logging
    import time

    from sovereign_ext.mirror.service import Mirror

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    mirror = Mirror.open(args.state_dir, args.name, logs, now_s=lambda: int(time.time()), poll_s=args.poll_s)
    asyncio.run(_until_stopped(mirror, args.listen, tls))
    return 0


async def _until_stopped(mirror: Mirror, address: tuple[str, int], tls: ssl.SSLContext | None) -> None:
    import asyncio
    import signal

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    host, _ = address
    port = await mirror.start(*address, tls)
    shown = f"[{host}]" if ":" in host else host
    # The last line says that it listens: whoever started this process may wait for it.
    print(
        f"{mirror.identity.describe()}\nlistening {'http' if tls is None else 'https'}://{shown}:{port}",
        flush=True,
    )
    try:
        await stopped.wait()
    finally:
        await mirror.close()


def _logs(args: argparse.Namespace) -> list[PolicyLog]:
    from sovereign_ext.attest.trusted_root import read_log_keys
    from sovereign_ext.errors import ConfigError
    from sovereign_ext.tlog.note import parse_verifier
    from sovereign_ext.tlog.policyfile import PolicyLog, parse_policy

    logs: list[PolicyLog] = []
    if args.log_keys is not None:
        logs.append(PolicyLog(read_log_keys(args.log_keys.read_bytes()).log, args.log_url))
    elif args.log_key is not None:
        logs.append(PolicyLog(parse_verifier(args.log_key), args.log_url))
    elif args.log_url is not None:
        raise ConfigError("--log-url needs --log-key or --log-keys")
    if args.logs is not None:
        logs += parse_policy(args.logs.read_bytes(), str(args.logs)).logs
    return logs


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    import ssl

    from sovereign_ext.errors import ConfigError

    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together")
    if args.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(args.tls_cert, args.tls_key)
    except ssl.SSLError as error:
        raise ConfigError(f"certificate and key cannot be used: {error.reason}", file=args.tls_cert) from None
    return context


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.01 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 86400 seconds")
    return number
