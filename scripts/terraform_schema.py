"""Writes ``tests/judges/terraform/aws.json``: arguments of the AWS resources in ``terraform/aws``, by others' word.

    python scripts/terraform_schema.py cdktn_provider_aws-25.8.1-py3-none-any.whl

HashiCorp's registry has the provider, package registries do not. They do have ``cdktn-provider-aws``, bindings that
are generated from the provider's own schema, and those say of each argument its name, type, whether it is required,
computed or a block. That is what ``terraform validate`` needs. Kept are the facts of the resource types that the
modules name, so the tests need no wheel of 70 MB. Run it again after a new resource type, or for a newer provider.
Not known from the bindings: what the provider itself checks of values, and arguments that exclude one another.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
MODULES: Final = ROOT / "terraform" / "aws"
OUTPUT: Final = ROOT / "tests" / "judges" / "terraform" / "aws.json"

_USED: Final = re.compile(r'^(resource|data) "aws_([a-z0-9_]+)" ', re.MULTILINE)
_RELEASE: Final = re.compile(r"/providers/hashicorp/aws/(\d+\.\d+\.\d+)/")
_CLASS: Final = re.compile(r"^class (\w+)", re.MULTILINE)
_FACT: Final = re.compile(r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)")
_GETTER: Final = re.compile(r"(tolist\()?this\.get(\w+)Attribute\('(\w+)'\)")
_FUNCTION: Final = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER: Final = re.compile(
    r"^ +(\w+): \{\s+value: (.*),\s+isBlock: (true|false),\s+type: \"(\w+)\",\s+storageClassType: \"(\w+)\"",
    re.MULTILINE,
)
_SCALARS: Final = {"string": "string", "number": "number", "boolean": "bool"}
_GOT: Final[dict[str, Any]] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
}


def used(modules: Path = MODULES) -> dict[str, set[str]]:
    """The types that the ``.tf`` files name, without ``aws_``, by ``resource`` and ``data``."""
    found: dict[str, set[str]] = {"resource": set(), "data": set()}
    for path in modules.rglob("*.tf"):
        for kind, name in _USED.findall(path.read_text("utf-8")):
            found[kind].add(name)
    return found


def block_of(source: str) -> dict[str, Any]:
    """The schema of one resource: ``attributes`` and ``blocks``, from its JavaScript."""
    classes = list(_CLASS.finditer(source))
    bodies = {
        match[1]: source[match.end() : following.start() if following else len(source)]
        for match, following in zip(classes, [*classes[1:], None], strict=True)
    }
    functions = dict(_FUNCTION.findall(source))
    root = next(name for name, body in bodies.items() if "static tfResourceType" in body)
    synthesized = bodies[root].partition("synthesizeHclAttributes() {")[2]
    return _block(synthesized, bodies[root], bodies, functions)


def _block(members: str, body: str, bodies: dict[str, str], functions: dict[str, str]) -> dict[str, Any]:
    facts = {name: [c == "true", o == "true", r == "true"] for name, c, o, r in _FACT.findall(body)}
    attributes: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    for name, value, is_block, shape, storage in _MEMBER.findall(members):
        computed, optional, required = facts[name]
        if is_block == "false":
            attributes[name] = [_type(shape, storage), computed, optional, required]
            if "markWriteOnlyAttribute" in value:
                attributes[name].append("write-only")
            continue
        function = re.findall(r"(\w+)ToHclTerraform", value)[0]
        many = re.search(r"listMapperHcl\(\w+, (true|false)\)", value)
        if many and many[1] == "false":
            attributes[name] = ["dynamic", computed, optional, required]  # a nested attribute
            continue
        inner = next(b for n, b in bodies.items() if n.lower() == f"{function}OutputReference".lower())
        blocks[name] = {
            "nesting": "single" if shape == "struct" else shape,
            "min": int(required and shape != "struct"),
            "max": 0 if many or shape == "struct" else 1,
            "block": _block(functions[function], inner, bodies, functions),
        }
    for as_set, kind, name in _GETTER.findall(body):
        if name not in attributes and name in facts and kind in _GOT:
            given = _GOT[kind]
            attributes[name] = [["set", given[1]] if as_set else given, *facts[name]]
    return {"attributes": dict(sorted(attributes.items())), "blocks": dict(sorted(blocks.items()))}


def _type(shape: str, storage: str) -> Any:
    if shape == "simple":
        return _SCALARS.get(storage, "dynamic")
    for scalar, name in _SCALARS.items():
        if storage in (f"{scalar}List", f"{scalar}Map"):
            return [shape, name]
    return "dynamic"


def main(wheel: Path) -> None:
    """Read the bindings in ``wheel`` and write ``OUTPUT``."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(item for item in archive.namelist() if item.endswith(".jsii.tgz"))
        inner = tarfile.open(fileobj=io.BytesIO(archive.read(name)))  # noqa: SIM115 - closed with the process
    wanted = {
        f"package/lib/{'data-aws-' if kind == 'data' else ''}{item.replace('_', '-')}/index.js": (
            kind,
            f"aws_{item}",
        )
        for kind, items in used().items()
        for item in items
    }
    schema: dict[str, Any] = {
        "from": wheel.name.rsplit("-py3", 1)[0],
        "provider": "",
        "resource": {},
        "data": {},
    }
    for member in inner:
        if member.name in wanted:
            stream = inner.extractfile(member)
            assert stream is not None
            source = stream.read().decode("utf-8")
            kind, item = wanted.pop(member.name)
            schema[kind][item] = block_of(source)
            release = _RELEASE.search(source)
            assert release is not None
            schema["provider"] = release[1]
    if wanted:
        sys.exit(f"the bindings do not have {', '.join(item for _, item in wanted.values())}")
    OUTPUT.write_text(
        json.dumps(schema, sort_keys=True, separators=(",", ":")).replace('"aws_', '\n"aws_') + "\n", "utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
