"""``sovereign webhooks``: try a receiver of findings, and set one going again.

``test`` sends from here, with what the configuration and this environment say, and touches no gateway. ``resume``
changes where a receiver stands in the database; routers see it within seconds. How receivers are is in ``sovereign
status``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sovereign_ext.config.load import Loaded
    from sovereign_ext.config.storage import SecretSource
    from sovereign_ext.secret import Secret


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("webhooks", help="try the receivers that are told of findings")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    test = actions.add_parser(
        "test",
        help="send a signed event that tells of nothing",
        description="Sends an event of type webhook.test, once. Exit code 0 if the receiver took it.",
    )
    resume = actions.add_parser(
        "resume",
        help="try a receiver again at once, also one that answered 410",
        description="Ends the pause after failures. With --from it is told again of every finding from that entry on; "
        "what it has had already has the same webhook-id.",
    )
    resume.add_argument(
        "--from", dest="start", type=_index, metavar="INDEX", help="the entry of the log to begin at"
    )
    resume.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        default=Path(".sovereign"),
        help="where SQLite's file is, if there is no PostgreSQL",
    )
    for action in (test, resume):
        action.add_argument("id", metavar="ID", help="its id in the configuration")
        action.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="default: sovereign.yaml, else .sovereign/sovereign.yaml",
        )


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.check import default_file
    from sovereign_ext.config.load import load
    from sovereign_ext.errors import StartError

    loaded = load(args.config or default_file())
    ids = [each.id for each in loaded.config.findings.webhooks]
    if args.id not in ids:
        raise StartError(f"{loaded.file} has no webhook {args.id}; it has: {', '.join(ids) or 'none'}")
    return _test(loaded, ids.index(args.id)) if args.action == "test" else _resume(args, loaded)


def _index(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 63:
        raise ValueError("no index")
    return value


def _test(loaded: Loaded, at: int) -> int:
    import asyncio
    import time

    from sovereign_ext.config.load import base_of
    from sovereign_ext.storing import read_secret
    from sovereign_ext.webhook.client import Answer, Result, WebhookClient
    from sovereign_ext.webhook.event import trial_event
    from sovereign_ext.webhook.hook import hook
    from sovereign_ext.webhook.signing import signed_headers

    def read(source: SecretSource, field: str) -> Secret:
        return read_secret(source, base_of(loaded.file), os.environ, field)

    found = hook(loaded.config.findings, at, loaded.files.__getitem__, read)
    now_s = time.time()
    event = trial_event(loaded.config.origin, found.webhook.id, int(now_s * 1000), os.urandom(16))
    headers = signed_headers(found.keys(read), event.id, int(now_s), event.body)

    async def send() -> Answer:
        client = WebhookClient(found.webhook.url, found.roots, time.time)
        try:
            return await client.post(headers, event.body)
        finally:
            await client.close()

    answer = asyncio.run(send())
    if answer.result is not Result.TAKEN:
        print(f"{found.webhook.id} did not take {event.id}: {answer.error}")
        return 1
    print(f"{found.webhook.id} took {event.id}")
    return 0


def _resume(args: argparse.Namespace, loaded: Loaded) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.cli.logparts import find_log
    from sovereign_ext.config.load import base_of
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.storage.webhooks import WebhookStore
    from sovereign_ext.storing import open_engine

    storage = loaded.config.storage
    log_dir = args.state_dir / "log"
    if storage.database is None:
        log_dir = find_log(args.state_dir, None).database.parent
    engine = open_engine(storage, base_of(loaded.file), log_dir, os.environ)
    try:
        known = WebhookStore(engine).resume(args.id, args.start)
    except SQLAlchemyError as error:
        raise LogUnavailable(f"the database cannot be used: {type(error).__name__}") from None
    finally:
        engine.dispose()
    if not known:
        raise LogUnavailable(f"no gateway has begun webhook {args.id} yet")
    place = "where it stands" if args.start is None else f"entry {args.start}"
    print(f"{args.id} is tried again within seconds, from {place} on")
    return 0
