"""``sovereign apply``: bring a running gateway to what a declarative file says, through its management API.

The file has the shape of ``sovereign.yaml``, with the sections tenants, policies, models, providers, deployments,
trust and log; what it does not name stays, unless ``--prune``. Applying it again changes nothing. Steps are taken in
the order of what refers to what, each by itself: at the first that is refused it ends, and says what was done.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sovereign_ext.errors import StartError

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway
    from sovereign_ext.config.desired import Step, Thing

EXIT_WOULD_CHANGE = 4
_MARKS = {"create": "+", "update": "~", "delete": "-"}
_DONE = {"create": "created", "update": "updated", "delete": "deleted"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser(
        "apply",
        help="bring a running gateway to what a declarative file says",
        description="The file has the shape of sovereign.yaml; files that it names are read here. Exit code 0 when "
        f"everything is as it says, with --dry-run {EXIT_WOULD_CHANGE} when something would change, 1 when a step was "
        "refused: what was done before stays.",
    )
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="- for standard input")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    parser.add_argument(
        "--prune", action="store_true", help="delete what is not in the file, in the sections that it has"
    )
    add_gateway(parser)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.api import Gateway

    gateway = Gateway.of(args)
    steps = _steps(gateway, args.file, prune=args.prune)
    if args.dry_run:
        for step in steps:
            print("\n".join(_shown(step)))
        print(_summary(steps) or "nothing would change")
        return EXIT_WOULD_CHANGE if steps else 0
    for at, step in enumerate(steps):
        try:
            _take(gateway, step)
        except StartError as error:
            left = f"{at} of {len(steps)} steps were taken; what they changed stays"
            raise StartError(f"{step.action} {step.name}: {error}\n{left}") from None
        print(f"{_DONE[step.action]} {step.name}")
    print(_summary(steps) or "nothing to change")
    return 0


def _steps(gateway: Gateway, file: str, *, prune: bool) -> list[Step]:
    from sovereign_ext.cli.declarative import as_named, read, there, with_texts
    from sovereign_ext.config.desired import Action, plan, sections_in, wanted

    data = read(file)
    base = Path() if file == "-" else Path(file).parent
    kinds = sections_in(data)
    found = list(there(gateway, kinds))
    # What the gateway's own file declares is shown with the names of its files: by those it is compared as well.
    declared = {thing.name: thing for thing in found if thing.declared}
    same = {thing.name for thing in wanted(as_named(data)) if thing.document == _document(declared, thing)}
    things = [declared[each.name] if each.name in same else each for each in wanted(with_texts(data, base))]
    steps = plan(things, found, kinds if prune else frozenset())
    for step in steps:
        if step.action is Action.UPDATE and step.found is not None and step.found.declared:
            fields = ", ".join(each.path for each in step.differences)
            raise StartError(f"{step.name} is declared in the gateway's own file, which differs in: {fields}")
    return steps


def _take(gateway: Gateway, step: Step) -> None:
    from sovereign_ext.cli.declarative import path_of
    from sovereign_ext.config.desired import section_of

    if step.wanted is None:
        assert step.found is not None
        gateway.send("DELETE", path_of(step.name), {"etag": step.found.etag})
        return
    document = {name: value for name, value in step.wanted.document.items() if name != "id"}
    if step.kind == "deployment":
        document.pop("provider")
    if step.found is not None:
        gateway.send("PATCH", path_of(step.name), {"update_mask": "*"}, {**document, "etag": step.found.etag})
        return
    collection = section_of(step.kind).collection
    own = step.name.partition("/")[2] if step.kind == "model" else step.name.rsplit("/", 1)[1]
    parent = step.name.rsplit(f"/{collection}/", 1)[0] + "/" if step.kind == "deployment" else ""
    query = {} if step.kind in ("statement", "mirror") else {f"{step.kind}_id": own}
    gateway.send("POST", f"/sf/v1/{parent}{collection}", query, document)


def _shown(step: Step) -> list[str]:
    lines = [f"{_MARKS[step.action]} {step.name}"]
    if step.action == "create" and step.wanted is not None:
        lines += [
            f"    {name}: {_value(value)}" for name, value in step.wanted.document.items() if name != "id"
        ]
    for each in step.differences:
        lines.append(f"    {each.path}: {_value(each.before)} -> {_value(each.after)}")
    return lines


def _value(value: Any) -> str:
    if value is None:
        return "(not given)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."


def _summary(steps: list[Step]) -> str:
    counts = [
        (sum(step.action == action for step in steps), word)
        for action, word in (("create", "to create"), ("update", "to update"), ("delete", "to delete"))
    ]
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def _document(things: dict[str, Thing], thing: Thing) -> Any:
    return things[thing.name].document if thing.name in things else None
