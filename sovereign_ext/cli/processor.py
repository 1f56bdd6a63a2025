"""``sovereign processor``: the ext_proc service alone, beside an Envoy that somebody else starts."""

from __future__ import annotations

import argparse
from pathlib import Path


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


def run(args: argparse.Namespace) -> int:
    import asyncio
    import gc
    import logging
    import os
    import signal
    from datetime import timedelta

    import uvloop

    from sovereign_ext.app import Processor
    from sovereign_ext.settings import Settings

    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run_dir = args.run_dir or args.state_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = Settings(
        args.config,
        args.state_dir,
        run_dir,
        args.listen_host,
        args.listen_port,
        args.checkpoint_dir,
        timedelta(milliseconds=args.message_timeout_ms),
        _listen("--metrics-listen", args.metrics_listen),
        args.drain_s,
        args.envoy_dir,
        args.roots,
        _listen("--health-listen", args.health_listen),
    )

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
