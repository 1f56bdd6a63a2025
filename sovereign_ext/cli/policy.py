"""``sovereign policy evaluate``: who would be asked under a policy, and why the others would not.

A client of ``POST /sf/v1/policies/{policy}:evaluate``, so the answer is the running gateway's own, with its evidence,
health and prices at this moment. No call is made. Deliberately not here: any rule.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sovereign_ext.cli.up import add_state_dir

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway

EXIT_REFUSED = 1
_TIMEOUT_S = 10.0
_SHORT_DIGEST = len("sha256:") + 12


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("policy", help="ask what a policy would decide")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    evaluate = actions.add_parser(
        "evaluate",
        help="show which deployments a call would be sent to, and why no other",
        description="Asks the running gateway; no call is made. Exit code 0 when a deployment would be asked, 1 "
        "when the call would be refused. With --url the key is taken from SF_ADMIN_KEY, else SF_API_KEY; with a "
        "tenant's key only what the rules expect is shown.",
    )
    evaluate.add_argument("--policy", required=True, metavar="P", help="the policy's id")
    evaluate.add_argument("--model", metavar="M", help="what a client would send as model")
    evaluate.add_argument("--capability", choices=("chat", "embeddings"), default="chat")
    evaluate.add_argument("--prompt-tokens", type=int, metavar="N", help="the size of the prompt (default 0)")
    evaluate.add_argument("--max-tokens", type=int, metavar="N", help="the bound on the answer")
    evaluate.add_argument(
        "--request", type=Path, metavar="FILE", help="the JSON body of a call, to be measured as one"
    )
    evaluate.add_argument("--tenant", metavar="T", help="whose call it would be (with an admin key)")
    evaluate.add_argument("--url", metavar="URL", help="another gateway, such as https://host:8443")
    add_state_dir(evaluate)
    evaluate.add_argument("--json", action="store_true", help="the API's answer as it is")


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.errors import StartError

    if args.model is None and args.request is None:
        raise StartError("give --model, --request or both")
    path = f"/sf/v1/policies/{args.policy}:evaluate"
    answer = _gateway(args).send("POST", path, document=_question(args))
    if not isinstance(answer.get("order"), list):
        raise StartError("the gateway says 200: nothing that could be read")
    print(json.dumps(answer, indent=2) if args.json else _render(answer))
    return 0 if answer["order"] else EXIT_REFUSED


def _question(args: argparse.Namespace) -> dict[str, Any]:
    body = None if args.request is None else _body(args.request)
    asked = {
        "model": args.model,
        "capability": args.capability,
        "prompt_tokens": args.prompt_tokens,
        "max_tokens": args.max_tokens,
        "request": body,
        "tenant": args.tenant,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _body(file: Path) -> Any:
    from sovereign_ext.errors import StartError

    try:
        return json.loads(file.read_bytes())
    except ValueError:
        raise StartError(f"{file}: is not JSON") from None


def _gateway(args: argparse.Namespace) -> Gateway:
    """Whom to ask, with which key: the gateway of the state directory, or the one named."""
    from sovereign_ext.cli.api import Gateway
    from sovereign_ext.errors import StartError

    if args.url is None:
        return Gateway.local(args.state_dir, timeout_s=_TIMEOUT_S)
    key = os.environ.get("SF_ADMIN_KEY") or os.environ.get("SF_API_KEY")
    if not key:
        raise StartError("--url needs a key in SF_ADMIN_KEY or SF_API_KEY")
    return Gateway.named(args.url, key, _TIMEOUT_S)


def _render(answer: dict[str, Any]) -> str:
    from sovereign_ext.cli.supervise.banner import painter

    good, bad = painter(sys.stdout, "32"), painter(sys.stdout, "31")
    size = answer["request"]
    limit = f", at most {size['max_tokens']} of answer" if "max_tokens" in size else ""
    lines = [
        f"{answer['policy'].removeprefix('policies/')}  {answer['policy_digest'][:_SHORT_DIGEST]}…",
        f"{answer['model']}, {size['capability']}, {size['prompt_tokens']} tokens of prompt{limit}",
        "",
    ]
    for each in answer["deployments"]:
        mark = good("eligible") if each["eligible"] else bad("excluded")
        lines.append(f"  {mark}  {each['deployment']}  {_known(each)}")
        lines += [f"              {_failed(failure)}" for failure in each["failed"]]
        if each["skipped"]:
            lines.append(f"              left out: {each['skipped']}")
    for shadow in answer["shadows"]:
        change = "another plan" if shadow["plan_changes"] else "the same plan"
        name = shadow["policy"].removeprefix("policies/")
        lines.append(f"  shadow {name}: {change}, eligible {', '.join(shadow['eligible']) or 'none'}")
    lines.append("")
    if answer["order"]:
        lines.append(f"would ask: {', then '.join(answer['order'])}")
    else:
        refusal = answer["refusal"]
        lines.append(f"would refuse: {refusal['status']} {refusal['code']}")
    return "\n".join(lines)


def _known(each: dict[str, Any]) -> str:
    words = [
        f"tier {each['tier']}",
        *([f"({', '.join(each['tier_reasons'])})"] if each["tier_reasons"] else []),
    ]
    if each["scopes"]:
        words.append(f"scopes {', '.join(each['scopes'])}")
    if "p95_ms" in each:
        words.append(f"p95 {each['p95_ms']} ms")
    if "cost_nano_usd" in each:
        words.append(f"at most ${int(each['cost_nano_usd']) / 1e9:.6g}")
    return " ".join(words)


def _failed(failure: dict[str, str]) -> str:
    came = f", is {failure['actual']}" if failure["actual"] else ""
    return f"{failure['rule']}: expected {failure['expected']}{came}"
