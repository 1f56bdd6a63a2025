"""``sovereign verify``: checks a receipt offline and prints every step.

Needs the receipt and, to mean anything, keys that came on another way (``--keys``, ``--trusted-root``,
``--log-key``). The steps are ``attest.verify``'s; nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovereign_ext.attest.verify import Report, TrustedKeys


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "verify",
        help="check a receipt offline",
        description="Checks a receipt step by step, offline. Exit code 1 when a step fails. Without a key "
        "option the keys in the receipt are used, which shows only that it is consistent with itself.",
    )
    parser.add_argument("receipt", type=Path, metavar="RECEIPT", help="the receipt, a JSON file")
    parser.add_argument("--response", type=Path, metavar="FILE", help="the response's body as received")
    parser.add_argument("--request", type=Path, metavar="FILE", help="the request's body as sent")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--keys", type=Path, metavar="FILE", help="the log's log-keys.json: pins all three keys"
    )
    keys.add_argument(
        "--trusted-root", type=Path, metavar="FILE", help="trusted_root.json: pins the log's key"
    )
    keys.add_argument("--log-key", metavar="VKEY", help="the log's verifier key, name+id+base64")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.attest.verify import verify_receipt

    document = _read_json(args.receipt)
    report = verify_receipt(
        document,
        _trusted_keys(args, document),
        request=None if args.request is None else args.request.read_bytes(),
        response=None if args.response is None else args.response.read_bytes(),
    )
    print(json.dumps(_as_json(report), indent=2) if args.json else _render(report))
    return 0 if report.ok else 1


def _trusted_keys(args: argparse.Namespace, document: Any) -> TrustedKeys:
    from sovereign_ext.attest.receipt_form import parse_receipt
    from sovereign_ext.attest.trusted_root import log_verifier, read_log_keys
    from sovereign_ext.attest.verify import TrustedKeys
    from sovereign_ext.tlog.note import parse_verifier

    if args.log_key is not None:
        return TrustedKeys(log=parse_verifier(args.log_key))
    if args.trusted_root is not None:
        origin = parse_receipt(document).promise.origin
        return TrustedKeys(log=log_verifier(_read_json(args.trusted_root), origin))
    if args.keys is not None:
        keys = read_log_keys(args.keys.read_bytes())
        return TrustedKeys(keys.log, keys.envelope, keys.promise)
    return TrustedKeys()


def _read_json(path: Path) -> Any:
    from sovereign_ext.errors import VerificationError

    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise VerificationError(f"{path} is not JSON") from None


def _as_json(report: Report) -> dict[str, Any]:
    checks = [
        {"step": c.number, "name": c.name, "status": c.status, "detail": c.detail} for c in report.checks
    ]
    return {
        "ok": report.ok,
        "origin": report.origin,
        "index": report.index,
        "log_key_pinned": report.pinned,
        "checks": checks,
        "statement": report.statement,
    }


def _render(report: Report) -> str:
    lines = [f"{c.number} {c.name:<10} {c.status:<7} {c.detail}" for c in report.checks]
    failed = [c.name for c in report.checks if c.status == "FAILED"]
    if failed:
        lines.append(f"NOT VERIFIED: {', '.join(failed)} failed (entry {report.index} of {report.origin})")
        return "\n".join(lines)
    lines.append(f"verified: entry {report.index} of {report.origin}")
    lines.extend(_facts(report.statement.get("predicate")))
    if not report.pinned:
        lines.append(
            "note: no key was given, so the receipt was checked with its own keys: it is consistent, but "
            "anyone could have made it; use --keys, --trusted-root or --log-key"
        )
    return "\n".join(lines)


def _facts(predicate: Any) -> list[str]:
    if not isinstance(predicate, dict):
        return []
    names = ("decision_id", "result", "model", "provider", "policy", "tier_required", "tier_observed")
    return [f"  {name:<14} {predicate[name]}" for name in names if predicate.get(name)]
