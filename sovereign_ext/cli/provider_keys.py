"""``sovereign provider-keys``: put provider keys into the encrypted local file, replace, list and remove them.

A key is read from standard input, never from an argument: arguments can be read by everybody on the machine. Nothing
here shows a key; what is shown of one is its fingerprint. A running gateway takes a change up by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sovereign_ext.cli.check import default_file
from sovereign_ext.cli.keyfiles import fail

if TYPE_CHECKING:
    from sovereign_ext.config.model import Config
    from sovereign_ext.keystore.masterkey import MasterKey, MasterSource
    from sovereign_ext.keystore.sealed import Record
    from sovereign_ext.keystore.service import Place
    from sovereign_ext.secret import Secret

MAX_SECRET_BYTES = 64 * 1024
"""As long as AWS and Google take; a service account's key file has some 2400."""

_HOW_TO = """\
{file} has no keystore.local section, so there is no file to put keys into. Add:

keystore:
  local:
    master_key: {{file: /path/to/master.key}}   # umask 077; openssl rand -base64 32 > /path/to/master.key"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("provider-keys", help="keep provider keys in the encrypted local file")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    put = actions.add_parser("set", help="store a key, read from standard input; replaces one that is there")
    rotate = actions.add_parser(
        "rotate",
        help="replace a key by another, read from standard input; with --master seal all keys under a new master key",
    )
    remove = actions.add_parser("rm", help="remove a key")
    listing = actions.add_parser(
        "list", help="show whose keys there are, by fingerprint; needs no master key"
    )
    for action in (put, rotate, remove):
        several = "?" if action is rotate else None
        action.add_argument(
            "tenant", metavar="TENANT", nargs=several, help="id, or '*' for a key that all may use"
        )
        action.add_argument(
            "provider", metavar="PROVIDER", nargs=several, help="id of a provider in the file"
        )
    rotate.add_argument("--master", action="store_true", help="no key changes; the master key does")
    for action in (put, rotate, remove, listing):
        action.add_argument(
            "--file", type=Path, help="the configuration file (default: as `sovereign check`)"
        )
        action.add_argument(
            "--state-dir",
            type=Path,
            metavar="DIR",
            default=Path(".sovereign"),
            help="of the processor; the keys are there unless keystore.local.file says otherwise (%(default)s)",
        )
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    import asyncio

    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.keystore.base import CredentialUnavailableError
    from sovereign_ext.keystore.service import Place

    file: Path = args.file or default_file()
    config = load(file).config
    if config.keystore.local is None:
        return fail(_HOW_TO.format(file=file))
    place = Place(base_of(file), args.state_dir)
    master = args.action == "rotate" and args.master
    if args.action == "rotate" and master == (args.provider is not None):
        return fail("rotate takes TENANT and PROVIDER, or --master alone")
    actions: dict[str, Callable[[Config, Place, argparse.Namespace], Any]] = {
        "set": _set,
        "rotate": _reseal if master else _rotate,
        "rm": _remove,
    }
    try:
        if args.action == "list":
            return _list(config, place, args)
        return int(asyncio.run(actions[args.action](config, place, args)))
    except (CredentialUnavailableError, _Refused) as error:
        return fail(str(error))


class _Refused(Exception):
    """What was asked for cannot be done; the text is for the user."""


async def _set(config: Config, place: Place, args: argparse.Namespace) -> int:
    return await _put(config, place, args, must_exist=False)


async def _rotate(config: Config, place: Place, args: argparse.Namespace) -> int:
    return await _put(config, place, args, must_exist=True)


async def _put(config: Config, place: Place, args: argparse.Namespace, *, must_exist: bool) -> int:
    from sovereign_ext.keystore.base import fingerprint
    from sovereign_ext.keystore.local import change
    from sovereign_ext.keystore.sealed import NONCE_BYTES, seal

    pair = _pair(config, args)
    secret = _read_secret(f"key of {args.tenant} for {args.provider}: ")
    done: list[Record] = []

    def edit(master: MasterKey, records: tuple[Record, ...]) -> tuple[Record, ...]:
        before = next((record for record in records if record.pair == pair), None)
        if must_exist and before is None:
            raise _Refused(f"there is no key of {args.tenant} for {args.provider} to replace; use `set`")
        if must_exist and before is not None and before.fingerprint == fingerprint(secret):
            raise _Refused(
                f"this is the key that is stored already ({before.fingerprint}); nothing was changed"
            )
        version = 1 if before is None else before.version + 1
        new = seal(
            master, pair, secret, version=version, set_s=int(time.time()), nonce=os.urandom(NONCE_BYTES)
        )
        done.append(new)
        return (*(record for record in records if record.pair != pair), new)

    async with _masters(config, place) as masters:
        await change(place.key_file(config.keystore), masters, edit)
    _tell(args, done[0], "stored")
    return 0


async def _remove(config: Config, place: Place, args: argparse.Namespace) -> int:
    from sovereign_ext.keystore.local import change

    pair = (args.tenant, args.provider)
    gone: list[Record] = []

    def edit(_: MasterKey, records: tuple[Record, ...]) -> tuple[Record, ...]:
        gone.extend(record for record in records if record.pair == pair)
        if not gone:
            raise _Refused(f"there is no key of {args.tenant} for {args.provider}")
        return tuple(record for record in records if record.pair != pair)

    if not place.key_file(config.keystore).exists():
        raise _Refused(f"there is no key of {args.tenant} for {args.provider}: no key file yet")
    async with _masters(config, place) as masters:
        await change(place.key_file(config.keystore), masters, edit)
    _tell(args, gone[0], "removed")
    return 0


async def _reseal(config: Config, place: Place, args: argparse.Namespace) -> int:
    import json

    from sovereign_ext.keystore.local import reseal
    from sovereign_ext.keystore.sealed import NONCE_BYTES, seal

    def again(master: MasterKey, record: Record, secret: Secret) -> Record:
        nonce = os.urandom(NONCE_BYTES)
        return seal(master, record.pair, secret, version=record.version, set_s=record.set_s, nonce=nonce)

    path = place.key_file(config.keystore)
    async with _masters(config, place) as masters:
        old, new, count = await reseal(path, masters, again)
    if args.json:
        print(json.dumps({"file": str(path), "master_key_before": old, "master_key": new, "keys": count}))
    else:
        print(
            f"sealed {count} {'key' if count == 1 else 'keys'} in {path} under master key {new} (before: {old})"
        )
    return 0


def _list(config: Config, place: Place, args: argparse.Namespace) -> int:
    import json

    from sovereign_ext.keystore.local import read

    path = place.key_file(config.keystore)
    file = read(path)
    records = () if file is None else file.records
    if args.json:
        print(json.dumps([_shown(record) for record in records], indent=1))
        return 0
    now = time.time()
    rows = [("TENANT", "PROVIDER", "FINGERPRINT", "VERSION", "SET", "AGE")]
    rows += [
        (
            record.tenant,
            record.provider,
            record.fingerprint,
            str(record.version),
            _time(record),
            _age(record, now),
        )
        for record in records
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _pair(config: Config, args: argparse.Namespace) -> tuple[str, str]:
    """Whose key for which provider; both must be in the configuration, so that a slip of the pen is noticed."""
    from sovereign_ext.keystore.base import SHARED

    tenants = [tenant.id for tenant in config.tenants]
    if args.tenant != SHARED and args.tenant not in tenants:
        raise _Refused(
            f"there is no tenant {args.tenant!r}; there are: {', '.join(tenants) or 'none'}, and '*' for all"
        )
    providers = [provider.id for provider in config.providers]
    if args.provider not in providers:
        raise _Refused(f"there is no provider {args.provider!r}; there are: {', '.join(providers) or 'none'}")
    return args.tenant, args.provider


def _read_secret(prompt: str) -> Secret:
    """From standard input: a terminal is asked without echo, anything else is read to its end."""
    from sovereign_ext.secret import Secret

    if sys.stdin.isatty():
        import getpass

        text = getpass.getpass(prompt, stream=sys.stderr)
    else:
        raw = sys.stdin.buffer.read(MAX_SECRET_BYTES + 3)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise _Refused("what came on standard input is not UTF-8 text") from None
        text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise _Refused("nothing came on standard input; the key is read from there")
    if len(text.encode()) > MAX_SECRET_BYTES:
        raise _Refused(f"what came on standard input is longer than {MAX_SECRET_BYTES} bytes")
    if text != text.strip() and not text.lstrip().startswith("{"):
        raise _Refused("what came on standard input has space around it; a key has none")
    return Secret(text)


@contextlib.asynccontextmanager
async def _masters(config: Config, place: Place) -> AsyncIterator[list[MasterSource]]:
    """The master key's sources, with their connections closed in the end."""
    from sovereign_ext.keystore.service import masters_of

    masters, closing = masters_of(config.keystore, place, os.environ)
    try:
        yield masters
    finally:
        for close in closing:
            await close()


def _shown(record: Record) -> dict[str, str | int]:
    return {
        "tenant": record.tenant,
        "provider": record.provider,
        "fingerprint": record.fingerprint,
        "version": record.version,
        "set_at": _time(record),
    }


def _tell(args: argparse.Namespace, record: Record, done: str) -> None:
    import json

    if args.json:
        print(json.dumps({"done": done, **_shown(record)}))
    else:
        of = f"{record.tenant} for {record.provider}"
        print(f"{done} the key of {of}: fingerprint {record.fingerprint}, version {record.version}")


def _time(record: Record) -> str:
    return datetime.fromtimestamp(record.set_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _age(record: Record, now_s: float) -> str:
    """In the largest unit that fits twice, as a person would say it."""
    age_s = max(0, int(now_s) - record.set_s)
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if age_s >= 2 * seconds:
            return f"{age_s // seconds}{unit}"
    return f"{age_s}s"
