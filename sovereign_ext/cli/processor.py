"""``sovereign processor``: the ext_proc service alone, beside an Envoy that somebody else starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.cli.envoy import workers

if TYPE_CHECKING:
    from sovereign_ext.settings import Settings


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("processor", help="run the ext_proc service that Envoy talks to")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="sovereign.yaml")
    parser.add_argument(
        "--state-dir", type=Path, required=True, metavar="DIR", help="log, keys, Envoy's files"
    )
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="Unix sockets (default: DIR/run)")
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="DIR",
        help="keep the last signed checkpoint apart from the log's data",
    )
    parser.add_argument(
        "--message-timeout-ms", type=int, default=10_000, metavar="MS",
        help="how long Envoy waits for this process before it gives a call up (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning"), default="info", help="default: %(default)s"
    )
    parser.add_argument(
        "--envoy-dir", type=Path, metavar="DIR", help="files that Envoy follows (default: DIR/envoy)"
    )
    parser.add_argument(
        "--roots", metavar="FILE", help="CA bundle for providers, as Envoy finds it (default: this system's)"
    )
    parser.add_argument("--listen-host", default="127.0.0.1", metavar="HOST", help="where Envoy listens")
    parser.add_argument(
        "--drain-s", type=float, default=10.0, metavar="S",
        help="how long SIGTERM waits for calls that are open (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics-listen", metavar="[HOST:]PORT",
        help="serve /metrics there to anybody who can connect (default: not at all; HOST: 127.0.0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--health-listen", metavar="[HOST:]PORT",
        help="serve grpc.health.v1 there, without TLS, to anybody who can connect (default: not at all)",
    )  # fmt: skip
    parser.add_argument(
        "--listen-port", type=int, metavar="PORT",
        help="where Envoy listens; without it no bootstrap is written, for an Envoy that has its own",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=workers, default=1, metavar="N",
        help="so many processes, for one Envoy; they share storage.database and storage.shared (default: 1)",
    )  # fmt: skip
    parser.add_argument("--worker", type=int, metavar="K", help=argparse.SUPPRESS)  # one of them


def run(args: argparse.Namespace) -> int:
    import asyncio
    import gc
    import os
    import signal
    from datetime import timedelta

    from sovereign_ext.settings import Settings

    run_dir = args.run_dir or args.state_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = Settings(
        args.config,
        args.state_dir,
        run_dir,
        args.listen_host,
        args.listen_port,
        checkpoint_dir=args.checkpoint_dir,
        message_timeout=timedelta(milliseconds=args.message_timeout_ms),
        metrics_listen=_listen("--metrics-listen", args.metrics_listen),
        drain_s=args.drain_s,
        shared_dir=args.envoy_dir,
        roots=args.roots,
        health_listen=_listen("--health-listen", args.health_listen),
        workers=args.workers,
        worker=args.worker or 1,
    )
    if args.workers > 1:
        if args.worker is None:
            from sovereign_ext.cli.supervise.workers import run_workers

            run_workers(settings, args.argv)
            return 0
        settings = _of_one(settings)
    _log_as(args)

    # Only now: whoever keeps workers running does without.
    import uvloop

    from sovereign_ext.app import Processor

    async def main() -> None:
        processor = Processor(settings, os.environ)
        await processor.start()
        gc.freeze()  # what start-up made stays; the collector need not look at it again
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: loop.create_task(processor.stop()))
        await processor.wait()

    uvloop.run(main())
    return 0


def _log_as(args: argparse.Namespace) -> None:
    import logging

    who = "" if args.worker is None else f"worker {args.worker} "
    line = f"%(asctime)s %(levelname)s {who}%(name)s %(message)s"
    logging.basicConfig(level=args.log_level.upper(), format=line)
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # gRPC writes down what a client sent in a header that is no UTF-8: a key with a stray byte behind it, for one.
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "Invalid encoding" not in record.msg)


def _of_one(settings: Settings) -> Settings:
    """What one of several listens on: the next port for each, and no probes, which are for all of them."""
    from dataclasses import replace

    metrics = settings.metrics_listen
    if metrics is not None:
        metrics = (metrics[0], metrics[1] + settings.worker - 1)
    return replace(settings, metrics_listen=metrics, health_listen=None)


def _listen(option: str, text: str | None) -> tuple[str, int] | None:
    """Raises ``StartError``."""
    if text is None:
        return None
    from sovereign_ext.errors import StartError
    from sovereign_ext.telemetry.listener import parse_listen

    try:
        return parse_listen(text)
    except ValueError as error:
        raise StartError(f"{option}: {error}") from None
