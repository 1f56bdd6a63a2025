"""``sovereign verify``: checks a receipt offline and prints every step.

Needs the receipt and, to mean anything, keys that came on another way (``--trust``, ``--keys``, …). The steps are
``attest.verify``'s; nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sovereign_ext.attest.reevaluate import Condition
    from sovereign_ext.attest.report import Report, TrustedKeys


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
    parser.add_argument(
        "--trust",
        type=Path,
        metavar="DIR",
        help="what you trust: log-keys.json or trusted_root.json, tlog-policy, witnesses/NAME.pem, "
        "anchors/NAME.pem, as far as they are there",
    )
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--keys", type=Path, metavar="FILE", help="the log's log-keys.json: pins all three keys"
    )
    keys.add_argument(
        "--trusted-root", type=Path, metavar="FILE", help="trusted_root.json: pins the log's key"
    )
    keys.add_argument("--log-key", metavar="VKEY", help="the log's verifier key, name+id+base64")
    parser.add_argument(
        "--witness-key",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="PEM public key of a scope witness; without NAME the file is named after it. Repeatable",
    )
    parser.add_argument(
        "--cosigner",
        action="append",
        default=[],
        metavar="VKEY",
        help="verifier key of a log witness or mirror that must have signed. Repeatable",
    )
    parser.add_argument(
        "--log-policy", type=Path, metavar="FILE", help="C2SP tlog-policy: the quorum of log witnesses"
    )
    parser.add_argument(
        "--anchor-key",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="PEM public key of an external log that must hold the tree. Repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.attest.verify import verify_receipt

    document = _read_json(args.receipt)
    report = verify_receipt(
        document,
        _trusted_keys(args, document),
        request=None if args.request is None else args.request.read_bytes(),
        response=None if args.response is None else args.response.read_bytes(),
        condition=recorded_condition(),
    )
    print(json.dumps(_as_json(report), indent=2) if args.json else _render(report))
    return 0 if report.ok else 1


def recorded_condition() -> Condition | None:
    """Judges a policy's condition over what an entry recorded; ``None`` where the CEL library is not installed."""
    from importlib.util import find_spec

    from sovereign_ext.condition import Condition, recorded_values
    from sovereign_ext.errors import VerificationError

    if find_spec("cel_expr_python") is None:
        return None

    def holds(text: str, predicate: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
        try:
            compiled = Condition(text)
        except ValueError as error:
            raise VerificationError(f"the policy's condition {error}") from None
        values = recorded_values(
            compiled.names,
            candidate,
            predicate["request"],
            tenant=predicate["tenant"],
            model=predicate["model"],
        )
        return compiled.failure(values) is None

    return holds


def _trusted_keys(args: argparse.Namespace, document: Any) -> TrustedKeys:
    from sovereign_ext.attest.rekor import RekorKey
    from sovereign_ext.tlog.cosignature import parse_cosigner_key
    from sovereign_ext.tlog.policyfile import parse_policy

    keys = _log_keys(args, document)
    witnesses, anchors, policy_file = {}, {}, args.log_policy
    if args.trust is not None:
        witnesses = {_name(path): path.read_bytes() for path in sorted(args.trust.glob("witnesses/*.pem"))}
        anchors = {_name(path): path.read_bytes() for path in sorted(args.trust.glob("anchors/*.pem"))}
        if policy_file is None and (args.trust / "tlog-policy").is_file():
            policy_file = args.trust / "tlog-policy"
    witnesses |= _named_files(args.witness_key)
    anchors |= _named_files(args.anchor_key)
    return replace(
        keys,
        witnesses=witnesses,
        anchors={name: RekorKey.from_pem(pem) for name, pem in anchors.items()},
        cosigners=tuple(parse_cosigner_key(text) for text in args.cosigner),
        quorum=None if policy_file is None else parse_policy(policy_file.read_bytes(), str(policy_file)),
    )


def _log_keys(args: argparse.Namespace, document: Any) -> TrustedKeys:
    from sovereign_ext.attest.receipt_form import parse_receipt
    from sovereign_ext.attest.report import TrustedKeys
    from sovereign_ext.attest.trusted_root import LOG_KEYS, TRUSTED_ROOT, log_verifier, read_log_keys
    from sovereign_ext.tlog.note import parse_verifier

    keys, root = args.keys, args.trusted_root
    if args.log_key is not None:
        return TrustedKeys(log=parse_verifier(args.log_key))
    if keys is None and root is None and args.trust is not None:
        keys, root = (_if_there(args.trust / name) for name in (LOG_KEYS, TRUSTED_ROOT))
    if keys is not None:
        found = read_log_keys(keys.read_bytes())
        return TrustedKeys(found.log, found.envelope, found.promise)
    if root is not None:
        return TrustedKeys(log=log_verifier(_read_json(root), parse_receipt(document).promise.origin))
    return TrustedKeys()


def _named_files(options: list[str]) -> dict[str, bytes]:
    found = {}
    for option in options:
        name, separator, path = option.rpartition("=")
        found[name if separator else _name(Path(path))] = Path(path).read_bytes()
    return found


def _name(path: Path) -> str:
    """Whose key a file holds: ``fda.pem`` and ``fda.pub.pem`` are ``fda``'s."""
    return path.name.removesuffix(".pem").removesuffix(".pub")


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_json(path: Path) -> Any:
    from sovereign_ext.errors import VerificationError

    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise VerificationError(f"{path} is not JSON, or has a member twice") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member name comes twice")
    return found


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
    lines = [f"{c.number:>2} {c.name:<12} {c.status:<7} {c.detail}" for c in report.checks]
    failed = [c.name for c in report.checks if c.status == "FAILED"]
    if failed:
        lines.append(f"NOT VERIFIED: {', '.join(failed)} failed (entry {report.index} of {report.origin})")
        return "\n".join(lines)
    lines.append(f"verified: entry {report.index} of {report.origin}")
    lines.extend(_facts(report.statement.get("predicate")))
    if not report.pinned:
        lines.append(
            "note: no key was given, so the receipt was checked with its own keys: it is consistent, but "
            "anyone could have made it; use --trust, --keys, --trusted-root or --log-key"
        )
    return "\n".join(lines)


def _facts(predicate: Any) -> list[str]:
    if not isinstance(predicate, dict):
        return []
    names = ("decision_id", "result", "model", "provider", "policy", "tier_required", "tier_observed")
    return [f"  {name:<14} {predicate[name]}" for name in names if predicate.get(name)]
