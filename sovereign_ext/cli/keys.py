"""``sovereign keys``: make, revoke and list the keys of tenants and admins.

Works on the configuration file alone; a running gateway reads the change by itself. The file only ever holds
hashes. A new key is written to stdout once, and nowhere else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.cli.check import default_file

if TYPE_CHECKING:
    from sovereign_ext.config.edit import Section
    from sovereign_ext.config.model import Config, Key

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("keys", help="make, revoke and list the keys of tenants and admins")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    new = actions.add_parser("new", help="make a key, print it once, put its hash into the file")
    new.add_argument("owner", metavar="TENANT", help="whose key it is; with --admin the id of an admin")
    new.add_argument("--admin", action="store_true", help="make a key for the management API")
    new.add_argument("--id", help="id of the key (default: TENANT-1, TENANT-2, ...)")
    new.add_argument(
        "--expires",
        type=_moment,
        metavar="WHEN",
        help="a date (2027-01-31), a time, or a span (30d, 12h, 5m)",
    )

    revoke = actions.add_parser("revoke", help="make a key useless from now on; it stays in the file")
    revoke.add_argument("key_id", metavar="KEY_ID")
    revoke.add_argument("--owner", metavar="ID", help="whose key, where several owners have one of this id")

    listing = actions.add_parser("list", help="show every key: whose it is, its state and its expiry")
    for action in (new, revoke, listing):
        action.add_argument(
            "--file", type=Path, help="the configuration file (default: as `sovereign check`)"
        )


def run(args: argparse.Namespace) -> int:
    file: Path = args.file or default_file()
    actions: dict[str, Callable[[Path, argparse.Namespace], int]] = {
        "new": _new,
        "revoke": _revoke,
        "list": _list,
    }
    return actions[args.action](file, args)


def _new(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.edit import add_key, snippet
    from sovereign_ext.config.load import parse
    from sovereign_ext.config.model import Key
    from sovereign_ext.tenants.keys import RANDOM_BYTES, KeyKind, hash_key, mint

    section: Section = "admins" if args.admin else "tenants"
    with _locked(file) as (text, replace):
        config = parse(text, str(file))
        known = {owner.id: owner.keys for owner in getattr(config, section)}
        if args.owner not in known and not args.admin:
            return _fail(f"{file} has no tenant {args.owner!r}; it has: {', '.join(known) or 'none'}")
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


def _revoke(file: Path, args: argparse.Namespace) -> int:
    from sovereign_ext.config.edit import revoke_key
    from sovereign_ext.config.load import parse

    now = datetime.now(UTC).replace(microsecond=0)
    with _locked(file) as (text, replace):
        found = [
            (section, owner, key)
            for section, owner, key in _keys(parse(text, str(file)))
            if key.id == args.key_id and args.owner in (None, owner)
        ]
        if not found:
            return _fail(f"{file} has no key {args.key_id!r}" + (f" of {args.owner}" if args.owner else ""))
        if len(found) > 1:
            owners = ", ".join(owner for _, owner, _ in found)
            return _fail(f"several owners have a key {args.key_id!r} ({owners}): say which with --owner")
        section, owner, key = found[0]
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


def _list(file: Path, _: argparse.Namespace) -> int:
    from sovereign_ext.config.load import load

    now = datetime.now(UTC)
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
        for section, owner, key in _keys(load(file).config)
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


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The file's text and a function that replaces it, safe against other commands doing the same."""
    import fcntl

    from sovereign_ext.config.load import parse_bytes, read_bytes

    real = Path(os.path.realpath(file))  # so that a symbolic link stays one
    if not real.exists():
        read_bytes(file)  # raises, in the words of `check`
    directory = os.open(real.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        raw = read_bytes(file)
        parse_bytes(raw, str(file))
        mark = "\ufeff" if raw.startswith(b"\xef\xbb\xbf") else ""
        yield raw.decode("utf-8-sig"), lambda text: _replace(real, mark + text, directory)
    finally:
        os.close(directory)


def _replace(real: Path, text: str, directory: int) -> None:
    """Replace the file atomically and durably, keeping its mode and, as far as we may, its owner."""
    before = real.stat()
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            with contextlib.suppress(PermissionError):
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fchmod(stream.fileno(), before.st_mode & 0o7777)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    os.fsync(directory)
