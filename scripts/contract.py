"""The management API as its protos describe it: services, methods, HTTP paths and the comments beside them.

For ``scripts/openapi.py``. The structure comes from the generated descriptors that the server itself uses, the words
from the sources, since generated code has no comments.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

import proto

sys.path.insert(0, str(proto.ROOT))

from sovereign_ext._gen.sovereign.management.v1 import access_pb2
from sovereign_ext.management.access import Access, access_of
from sovereign_ext.management.services import REGISTRY

SERVICES: tuple[ServiceDescriptor, ...] = tuple(served.contract for served in REGISTRY)
_VARIABLE = re.compile(r"\{([^=}]+)(?:=([^}]+))?\}")


@dataclass(frozen=True, slots=True)
class HttpPath:
    """One HTTP path. ``template`` is OpenAPI's; ``variables`` maps its parameters to the pattern of their value
    (``*`` or ``**``), ``bound`` names the request's fields that they fill; ``body`` is as in ``google.api.http``."""

    verb: str
    template: str
    variables: dict[str, str]
    bound: tuple[str, ...]
    body: str


def comments() -> dict[str, str]:
    """The comment before each service, method, message, field and enum value, by full name."""
    from grpc_tools import protoc  # noqa: PLC0415 - a development dependency

    files = sorted(
        path.relative_to(proto.PROTO).as_posix() for path in (proto.PROTO / "sovereign").rglob("*.proto")
    )
    with tempfile.TemporaryDirectory() as scratch:
        imports, out = Path(scratch, "imports.bin"), Path(scratch, "out.bin")
        imports.write_bytes(proto.dependencies().SerializeToString())
        arguments = [f"--proto_path={proto.PROTO}", f"--descriptor_set_in={imports}", "--include_source_info"]
        if protoc.main(["protoc", *arguments, f"--descriptor_set_out={out}", *files]) != 0:
            raise RuntimeError("protoc refused the files")
        found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return {name: text for file in found.file for name, text in _comments(file)}


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = location.leading_comments.strip()
        if not text:
            continue
        here: Any = file
        names = [file.package]
        for step in location.path:
            if isinstance(step, int) and not hasattr(here, "DESCRIPTOR"):
                here = here[step]
                names.append(here.name)
                continue
            field = here.DESCRIPTOR.fields_by_number[step]
            here = getattr(here, field.name)
        if hasattr(here, "name"):
            yield ".".join(names), re.sub(r"\n ", "\n", text)


def paths(method: MethodDescriptor) -> tuple[HttpPath, ...]:
    """Every HTTP path of a method, the main one first."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return tuple(_path(each) for each in (rule, *rule.additional_bindings))


def _path(rule: Any) -> HttpPath:
    verb = rule.WhichOneof("pattern")
    variables: dict[str, str] = {}
    bound: list[str] = []

    def filled(match: re.Match[str]) -> str:
        bound.append(match[1])
        if match[2] in (None, "**"):
            variables[match[1]] = match[2] or "*"
            return f"{{{match[1]}}}"
        parts, result = match[2].split("/"), []
        for at, part in enumerate(parts):
            if part in ("*", "**"):
                name = _singular(parts[at - 1])
                variables[name] = part
                part = f"{{{name}}}"  # noqa: PLW2901
            result.append(part)
        return "/".join(result)

    template = _VARIABLE.sub(filled, getattr(rule, verb))
    return HttpPath(verb, template, variables, tuple(bound), rule.body)


def _singular(collection: str) -> str:
    """The variable that resource patterns have behind ``collection/``."""
    for service in SERVICES:
        for message in service.file.message_types_by_name.values():
            for pattern in resource(message).pattern:
                found = re.search(rf"(?:^|/){re.escape(collection)}/\{{(\w+)(?:=\*\*)?\}}", pattern)
                if found:
                    return found[1]
    return collection.removesuffix("s")


def name_of(message: Descriptor) -> str:
    """What a message is called in the documents: its name, with its package's where another has the same."""
    known = [each for each in messages() if each.name == message.name]
    return message.name if len(known) < 2 else f"{message.full_name.split('.')[1]}.{message.name}"


def resource(message: Descriptor) -> Any:
    """``google.api.resource`` of a message; empty for one that is none."""
    return message.GetOptions().Extensions[resource_pb2.resource]


def access(method: MethodDescriptor) -> Access:
    """Who may call it."""
    return access_of(method)


def produces(method: MethodDescriptor) -> str:
    """The media type of its answer. Raises ``ValueError`` for a body that does not say it."""
    options: Any = method.GetOptions().Extensions
    said = str(options[access_pb2.produces])
    if (method.output_type.full_name == "google.api.HttpBody") != bool(said):
        raise ValueError(f"{method.full_name}: option (produces) goes with google.api.HttpBody")
    return said or "application/json"


def behaviour(field: FieldDescriptor) -> frozenset[str]:
    """``REQUIRED``, ``OUTPUT_ONLY``, … of a field."""
    values = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return frozenset(field_behavior_pb2.FieldBehavior.Name(value) for value in values)


@cache
def messages() -> list[Descriptor]:
    """Every message of ours that an answer or a request holds, each once, in the order of first use."""
    found: dict[str, Descriptor] = {}

    def visit(message: Descriptor) -> None:
        if message.full_name in found or not message.full_name.startswith("sovereign."):
            return
        found[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                visit(field.message_type)

    for service in SERVICES:
        for method in service.methods:
            visit(method.input_type)
            visit(method.output_type)
    return list(found.values())
