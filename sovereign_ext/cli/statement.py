"""``sovereign statement``: make keys, sign statements, verify and inspect them.

Works on files alone, for whoever signs: witnesses, providers, observers. Private keys are read from files, written
with mode 0600 and never shown. What statements say is ``registry.statements``' matter; whether one counts in a
gateway is said by ``sovereign check`` and decided at every call.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sovereign_ext.cli.keyfiles import (
    about,
    fail,
    read_file,
    read_private,
    read_public,
    sha256_of,
    write_key_pair,
    write_new,
)

if TYPE_CHECKING:
    from sovereign_ext.registry.envelope import PrivateKey
    from sovereign_ext.registry.statements import Statement

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhms])")
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "statement", help="sign, verify and inspect the statements that tiers and scopes rest on"
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    keygen = actions.add_parser("keygen", help="make NAME.pem (private, mode 0600) and NAME.pub.pem")
    keygen.add_argument("name", metavar="NAME", help="path and stem of both files; existing ones are kept")
    keygen.add_argument("--ed25519", action="store_true", help="an Ed25519 key instead of ECDSA P-256")

    _register_sign(actions)

    verify = actions.add_parser("verify", help="check that a key signed a statement that can be read")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--key", type=Path, required=True, metavar="PUB.pem", help="the signer's public key")

    inspect = actions.add_parser("inspect", help="show what a statement says; its signature is not checked")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")


def _register_sign(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sign = actions.add_parser(
        "sign",
        help="sign a statement",
        description="Times are RFC 3339 in UTC (2027-01-31T12:00:00Z), dates, or spans from now (30d, 12h).",
    )
    sign.add_argument("--key", type=Path, required=True, metavar="KEY.pem", help="the signer's private key")
    sign.add_argument("--type", required=True, choices=("witness", "provider", "drift", "revocation"))
    sign.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="must not exist yet")
    subject = sign.add_argument_group("witness, provider, drift")
    subject.add_argument("--model", metavar="ID", help="the model's id")
    subject.add_argument("--digest", metavar="sha256:HEX", help="the model's digest")
    times = sign.add_argument_group("witness, provider")
    times.add_argument("--not-before", metavar="TIME", help="default: now")
    times.add_argument("--not-after", metavar="TIME", help="the first moment at which it no longer holds")
    witness = sign.add_argument_group("witness")
    witness.add_argument("--witness", metavar="ID", help="who vouches")
    witness.add_argument("--scope", metavar="SCOPE", help="for what, such as hipaa")
    witness.add_argument("--basis", metavar="TEXT", help="on what grounds")
    witness.add_argument("--intended-use", metavar="TEXT", help="for which use of the model")
    witness.add_argument(
        "--supersedes", action="append", default=[], metavar="FILE|DIGEST", help="a statement it replaces"
    )
    provider = sign.add_argument_group("provider")
    provider.add_argument("--provider", metavar="ID", help="who serves it")
    provider.add_argument(
        "--spki-pin", action="append", default=[], metavar="PIN", help="base64 SHA-256 of the endpoint's key"
    )
    provider.add_argument(
        "--certificate",
        action="append",
        default=[],
        type=Path,
        metavar="PEM",
        help="a certificate to pin the key of",
    )
    provider.add_argument("--spiffe-id", metavar="URI", help="SPIFFE id of the endpoint")
    drift = sign.add_argument_group("drift")
    drift.add_argument("--observer", metavar="ID", help="who measured")
    drift.add_argument("--deployment", metavar="ID", help="what, where it is one deployment only")
    drift.add_argument("--metric", metavar="TEXT", help="what was measured")
    drift.add_argument("--posture", choices=("stable", "watch", "drifted"))
    drift.add_argument("--measured-at", metavar="TIME", help="default: now")
    drift.add_argument("--valid-for", metavar="SPAN", help="such as 7d")
    revocation = sign.add_argument_group("revocation")
    revocation.add_argument("--by", metavar="ID", help="who signed what is revoked")
    revocation.add_argument(
        "--revokes", action="append", default=[], metavar="FILE|DIGEST", help="what is revoked"
    )
    revocation.add_argument("--revoked-at", metavar="TIME", help="default: now")
    revocation.add_argument("--reason", metavar="TEXT")


def run(args: argparse.Namespace) -> int:
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "keygen": _keygen,
        "sign": _sign,
        "verify": _verify,
        "inspect": _inspect,
    }
    return actions[args.action](args)


def _keygen(args: argparse.Namespace) -> int:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = Path(f"{args.name}.pem"), Path(f"{args.name}.pub.pem")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            return fail(f"{path} exists already; a key is never replaced")
    key: PrivateKey = (
        Ed25519PrivateKey.generate() if args.ed25519 else ec.generate_private_key(ec.SECP256R1())
    )
    write_key_pair(private, public, key)
    print(f"{private} (keep it secret) and {public}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    from sovereign_ext.errors import StatementError
    from sovereign_ext.registry.envelope import seal
    from sovereign_ext.registry.statements import payload_of

    try:
        statement = _MAKERS[args.type](args, int(datetime.now(UTC).timestamp()))
        payload = payload_of(statement)
    except _Usage as error:
        return fail(str(error))
    except StatementError as error:
        return fail(f"this cannot be signed: {error}")
    raw = seal(payload, read_private(args.key))
    write_new(args.output, raw)
    print(f"{args.output}: {args.type} statement {sha256_of(raw)}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from sovereign_ext.registry.envelope import read_envelope, verify
    from sovereign_ext.registry.statements import parse_statement

    raw, key = read_file(args.file), read_public(args.key)
    with about(args.file):
        envelope = read_envelope(raw)
        verify(envelope, key)
        statement = parse_statement(envelope.payload)
    print(f"{args.file}: signed by this key ({_summary(statement)})")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    import json

    from sovereign_ext.registry.envelope import read_envelope
    from sovereign_ext.registry.fields import read_json
    from sovereign_ext.registry.signed import payload_digest
    from sovereign_ext.registry.statements import parse_statement

    raw = read_file(args.file)
    with about(args.file):
        envelope = read_envelope(raw)
        statement = parse_statement(envelope.payload)
        document = read_json(envelope.payload)
    facts = {
        "document": sha256_of(raw),
        "payload": payload_digest(envelope.payload),
        "key_id": envelope.key_id,
        "statement": document,
    }
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"{args.file}: {_summary(statement)}")
    print(f"  document      {facts['document']}")
    print(f"  payload       {facts['payload']}")
    print(f"  key id        {envelope.key_id or '(none)'}")
    for name, value in document["predicate"].items():
        # As JSON, so that no text in a foreign file can steer the terminal.
        print(f"  {name:<13} {value if _is_plain(value) else json.dumps(value)}")
    print("the signature was not checked: `sovereign statement verify` does")
    return 0


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _summary(statement: Statement) -> str:
    from sovereign_ext.registry import statements

    match statement:
        case statements.WitnessStatement():
            return f"witness {statement.witness} vouches for {statement.model}: {statement.scope}"
        case statements.ProviderStatement():
            return f"provider {statement.provider} serves {statement.model}"
        case statements.DriftReport():
            return f"observer {statement.observer} found {statement.model} {statement.posture.value}"
        case statements.Revocation():
            return f"{statement.by} revokes {len(statement.revokes)} digests"


# -- statements from options ---------------------------------------------------------------------------------


class _Usage(Exception):
    """An option is missing or cannot be read; the text names it."""


def _witness(args: argparse.Namespace, now: int) -> Statement:
    from sovereign_ext.registry.statements import WitnessStatement

    return WitnessStatement(
        model=_need(args, "model"),
        digest=_need(args, "digest"),
        witness=_need(args, "witness"),
        scope=_need(args, "scope"),
        basis=_need(args, "basis"),
        intended_use=_need(args, "intended_use"),
        not_before=_time(args, "not_before", now, now),
        not_after=_time(args, "not_after", now),
        supersedes=_documents(args.supersedes),
    )


def _provider(args: argparse.Namespace, now: int) -> Statement:
    from sovereign_ext.registry.statements import ProviderStatement

    pins = [*args.spki_pin, *(_pin_of(path) for path in args.certificate)]
    return ProviderStatement(
        model=_need(args, "model"),
        digest=_need(args, "digest"),
        provider=_need(args, "provider"),
        spki_pins=tuple(dict.fromkeys(pins)),
        spiffe_id=args.spiffe_id,
        not_before=_time(args, "not_before", now, now),
        not_after=_time(args, "not_after", now),
    )


def _drift(args: argparse.Namespace, now: int) -> Statement:
    from sovereign_ext.config.trust import Drift
    from sovereign_ext.registry.statements import DriftReport

    span = _SPAN.fullmatch(_need(args, "valid_for"))
    if span is None:
        raise _Usage("--valid-for takes a span such as 7d or 12h")
    return DriftReport(
        model=_need(args, "model"),
        digest=_need(args, "digest"),
        observer=_need(args, "observer"),
        deployment=args.deployment,
        metric=_need(args, "metric"),
        posture=Drift(_need(args, "posture")),
        measured_at=_time(args, "measured_at", now, now),
        valid_for_s=int(span[1]) * _UNITS[span[2]],
    )


def _revocation(args: argparse.Namespace, now: int) -> Statement:
    from sovereign_ext.registry.statements import Revocation

    if not args.revokes:
        raise _Usage("a revocation takes --revokes")
    return Revocation(
        by=_need(args, "by"),
        revokes=_documents(args.revokes),
        revoked_at=_time(args, "revoked_at", now, now),
        reason=_need(args, "reason"),
    )


_MAKERS: dict[str, Callable[[argparse.Namespace, int], Any]] = {
    "witness": _witness,
    "provider": _provider,
    "drift": _drift,
    "revocation": _revocation,
}


def _need(args: argparse.Namespace, name: str) -> str:
    value = getattr(args, name)
    if not value:
        raise _Usage(f"a {args.type} statement takes --{name.replace('_', '-')}")
    return str(value)


def _time(args: argparse.Namespace, name: str, now: int, default: int | None = None) -> int:
    option = f"--{name.replace('_', '-')}"
    text = getattr(args, name)
    if text is None:
        if default is None:
            raise _Usage(f"a {args.type} statement takes {option}")
        return default
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            return now + int(span[1]) * _UNITS[span[2]]
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise _Usage(f"{option}: expected a time (2027-01-31T12:00:00Z), a date or a span (30d)") from None


def _documents(wanted: list[str]) -> tuple[str, ...]:
    """Digests of the files named, of the file and of its payload, and digests given as such."""
    from sovereign_ext.errors import VerificationError
    from sovereign_ext.registry.envelope import read_envelope
    from sovereign_ext.registry.manifest import bundle_payload
    from sovereign_ext.registry.signed import payload_digest

    found: list[str] = []
    for item in wanted:
        if _DIGEST.fullmatch(item):
            found.append(item)
            continue
        raw = read_file(Path(item))
        try:
            payload = read_envelope(raw).payload
        except VerificationError:
            with about(Path(item)):
                payload = bundle_payload(raw)
        found += [sha256_of(raw), payload_digest(payload)]
    return tuple(dict.fromkeys(found))


def _pin_of(path: Path) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    from sovereign_ext.registry.evidence import pin_of

    try:
        key = load_pem_x509_certificate(read_file(path)).public_key()
        return pin_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except ValueError:
        raise _Usage(f"{path} is not a PEM certificate") from None
