"""``sovereign keys``: make, rotate, revoke and list the keys of tenants and admins.

Works on the configuration file, which a running gateway reads again by itself, or with ``--api`` or ``--url`` on the
management API of a running gateway (``keysapi``). The file only ever holds hashes. A new key is written to stdout once,
and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.cli.check import default_file
from sovereign_ext.cli.rewrite import locked
from sovereign_ext.errors import StartError

if TYPE_CHECKING:
    from sovereign_ext.config.edit import Section
    from sovereign_ext.config.model import Config, Key

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_DAY = timedelta(days=1)
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser(
        "keys", help="make, rotate, revoke and list the keys of tenants and admins"
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    new = actions.add_parser("new", help="make a key, print it once, put its hash into the file")
    new.add_argument("owner", metavar="TENANT", help="whose key it is; with --admin the id of an admin")
    new.add_argument("--admin", action="store_true", help="make a key for the management API")
    new.add_argument("--id", help="id of the key (default: TENANT-1, TENANT-2, ...)")
    new.add_argument(
        "--policy", action="append", metavar="ID", help="the only policies that it may use; may be repeated"
    )

    rotate = actions.add_parser(
        "rotate", help="make a key in place of another, which goes on for a while; print the new one once"
    )
    rotate.add_argument("key_id", metavar="KEY_ID", help="of the old key; with --api also its name")
    rotate.add_argument("--id", help="id of the new key (default: one that is free)")
    rotate.add_argument(
        "--overlap", type=_span, metavar="SPAN", help="how long the old key goes on (default 1d)"
    )
    for action in (new, rotate):
        action.add_argument(
            "--expires",
            type=_moment,
            metavar="WHEN",
            help="a date (2027-01-31), a time, or a span (30d, 12h, 5m)",
        )

    revoke = actions.add_parser("revoke", help="make a key useless from now on; it stays in the file")
    revoke.add_argument("key_id", metavar="KEY_ID")
    for action in (rotate, revoke):
        action.add_argument(
            "--owner", metavar="ID", help="whose key, where several owners have one of this id"
        )

    listing = actions.add_parser("list", help="show every key: whose it is, its state and its expiry")
    listing.add_argument("owner", nargs="?", metavar="TENANT", help="only of this one")
    listing.add_argument("--admin", action="store_true", help="keys for the management API")
    for action in (rotate, revoke):
        action.add_argument("--admin", action="store_true", help="a key for the management API; with --api")
    for action in (new, rotate, revoke, listing):
        place = action.add_mutually_exclusive_group()
        place.add_argument("--file", type=Path, help="the configuration file (default: as `sovereign check`)")
        place.add_argument(
            "--api", action="store_true", help="the running gateway's database instead of a file"
        )
        add_gateway(action)


def run(args: argparse.Namespace) -> int:
    if args.api or args.url is not None:
        from sovereign_ext.cli import keysapi

        return keysapi.run(args)
    file: Path = args.file or default_file()
    if args.file is None and not file.exists():
        return _fail(f"there is no {file} here; --file names one, --api is for the running gateway's keys")
    actions: dict[str, Callable[[Path, argparse.Namespace], int]] = {
        "new": _new,
        "rotate": _rotate,
        "revoke": _revoke,
        "list": _list,
    }
    try:
        return actions[args.action](file, args)
    except StartError as error:
        return _fail(str(error))


def _new(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.edit import add_key, snippet
    from sovereign_ext.config.load import parse
    from sovereign_ext.config.model import Key
    from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, hash_key, mint

    if args.policy:
        return _fail("--policy is for --api; in a file write policies into the key")
    section: Section = "admins" if args.admin else "tenants"
    with locked(file) as (text, replace):
        config = parse(text, str(file))
        known = {owner.id: owner.keys for owner in getattr(config, section)}
        if args.owner not in known and not args.admin:
            there = ", ".join(known) or "none"
            return _fail(
                f"{file} has no tenant {args.owner!r}; it has: {there}. --api is for the running gateway's tenants"
            )
        taken = {key.id for key in known.get(args.owner, ())}
        key_id = args.id or _free_id(args.owner, taken)
        if key_id in taken:
            return _fail(f"{args.owner} already has a key {key_id!r}; give another --id")
        secret = mint(KeyKind.ADMIN if args.admin else KeyKind.TENANT, os.urandom(RANDOM_BYTES))
        try:
            key = Key(id=key_id, hash=hash_key(secret.reveal()), expires_at=args.expires)
        except ValueError:
            return _fail(f"{key_id!r} cannot be an id: lower-case letters, digits, '.', '_', '-', at most 64")
        changed = add_key(text, section, args.owner, key)
        if changed is not None:
            replace(changed)
    print(secret.reveal())
    if changed is None:
        where = f"{section}, {args.owner}, keys"
        print(f"{file} was not changed: its layout is unusual. Add under {where}:", file=sys.stderr)
        print(snippet(key), end="", file=sys.stderr)
        return 1
    print(f"added key {key_id} of {args.owner} to {file}; the key is not shown again", file=sys.stderr)
    return 0


def _rotate(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.edit import add_key, revoke_key
    from sovereign_ext.config.load import parse
    from sovereign_ext.config.model import Key
    from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, hash_key, mint

    now = datetime.now(UTC).replace(microsecond=0)
    end = now + (_DAY if args.overlap is None else args.overlap)
    with locked(file) as (text, replace):
        config = parse(text, str(file))
        section, owner, old = _the_one(file, config, args)
        if _state(old, now) != "valid":
            raise StartError(f"key {old.id} of {owner} opens nothing any more; make a new one")
        if old.limits or old.spend_caps or old.policies:
            raise StartError(f"key {old.id} of {owner} has rules of its own: rotate it by hand in {file}")
        taken = {key.id for _, whose, key in _keys(config) if whose == owner}
        key_id = args.id or _free_id(old.id.rstrip("0123456789").rstrip("-") or old.id, taken)
        if key_id in taken:
            return _fail(f"{owner} already has a key {key_id!r}; give another --id")
        secret = mint(KeyKind.ADMIN if section == "admins" else KeyKind.TENANT, os.urandom(RANDOM_BYTES))
        key = Key(id=key_id, hash=hash_key(secret.reveal()), expires_at=args.expires)
        changed = add_key(text, section, owner, key)
        if changed is not None and (old.revoked_at is None or old.revoked_at > end):
            changed = revoke_key(changed, section, owner, old.id, end)
        if changed is None:
            return _fail(f"{file} was not changed: its layout is unusual")
        replace(changed)
    print(secret.reveal())
    print(f"added key {key_id} of {owner} to {file}; {old.id} goes on until {_time(end)}", file=sys.stderr)
    return 0


def _revoke(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.edit import revoke_key
    from sovereign_ext.config.load import parse

    now = datetime.now(UTC).replace(microsecond=0)
    with locked(file) as (text, replace):
        section, owner, key = _the_one(file, parse(text, str(file)), args)
        if key.revoked_at is not None and key.revoked_at <= now:
            print(f"key {key.id} of {owner} was already revoked at {_time(key.revoked_at)}")
            return 0
        changed = revoke_key(text, section, owner, key.id, now)
        if changed is None:
            return _fail(
                f"{file} was not changed: its layout is unusual. "
                f"Add to key {key.id} of {owner}: revoked_at: {_time(now)}"
            )
        replace(changed)
    print(f"revoked key {key.id} of {owner} in {file}")
    return 0


def _the_one(file: Path, config: Config, args: argparse.Namespace) -> tuple[Section, str, Key]:
    """The key that is meant. Raises ``StartError`` if there is none, or more than one."""
    found = [
        (section, owner, key)
        for section, owner, key in _keys(config)
        if key.id == args.key_id and args.owner in (None, owner)
    ]
    if not found:
        raise StartError(f"{file} has no key {args.key_id!r}" + (f" of {args.owner}" if args.owner else ""))
    if len(found) > 1:
        owners = ", ".join(owner for _, owner, _ in found)
        raise StartError(f"several owners have a key {args.key_id!r} ({owners}): say which with --owner")
    return found[0]


def _list(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.load import load

    now, config = datetime.now(UTC), load(file).config
    owners = config.admins if args.admin else config.tenants
    if args.owner is not None and args.owner not in {owner.id for owner in owners}:
        raise StartError(f"{file} has no {'admin' if args.admin else 'tenant'} {args.owner!r}")
    wanted = {"admins"} if args.admin else {"tenants"} if args.owner is not None else {"tenants", "admins"}
    rows = [("OWNER", "KIND", "KEY", "STATE", "EXPIRES", "HASH")]
    rows += [
        (
            owner,
            section.removesuffix("s"),
            key.id,
            _state(key, now),
            "never" if key.expires_at is None else _time(key.expires_at),
            key.hash[: len("sha256:") + 8] + "…",
        )
        for section, owner, key in _keys(config)
        if section in wanted and args.owner in (None, owner)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _keys(config: Config) -> Iterator[tuple[Section, str, Key]]:
    for tenant in config.tenants:
        for key in tenant.keys:
            yield "tenants", tenant.id, key
    for admin in config.admins:
        for key in admin.keys:
            yield "admins", admin.id, key


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"


def _free_id(owner: str, taken: set[str]) -> str:
    stem = owner if len(owner) <= 56 else "key"
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def _span(text: str) -> timedelta:
    span = _SPAN.fullmatch(text)
    if span is None and text != "0":
        raise argparse.ArgumentTypeError(f"expected a span (30d, 12h, 5m) or 0, got {text!r}")
    return timedelta() if span is None else timedelta(**{_UNITS[span[2]]: int(span[1])})


def _moment(text: str) -> datetime:
    now = datetime.now(UTC).replace(microsecond=0)
    span = _SPAN.fullmatch(text)
    try:
        moment = now + timedelta(**{_UNITS[span[2]]: int(span[1])}) if span else datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"expected a date (2027-01-31), a time (2027-01-31T12:00:00Z) or a span (30d, 12h), got {text!r}"
        ) from None
    if moment <= now:
        raise argparse.ArgumentTypeError(f"{text} is not in the future")
    return moment


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _fail(line: str) -> int:
    print(f"sovereign: {line}", file=sys.stderr)
    return 1
