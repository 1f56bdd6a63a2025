"""The reference page of the management API's methods, of the protos and their comments. See ``scripts/openapi.py``."""

from __future__ import annotations

import contract
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

_HEAD = """# Methods of the management API

<!-- Generated from proto/ by scripts/openapi.py. Do not edit. -->

What each method takes and gives. How the API is used is in [management](../management.md), what is common to all
methods in [api](api.md); the same for programs is [openapi.json](openapi.json), which the router serves as
`/sf/v1/openapi.json`.
"""


def page(comments: dict[str, str]) -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for service in contract.SERVICES:
        parts += _service(service, comments)
    parts.append("## Messages\n")
    requests = {method.input_type.full_name for service in contract.SERVICES for method in service.methods}
    for message in contract.messages():
        if message.full_name not in requests:
            parts += _message(message, comments)
    return "\n".join(parts)


def _service(service: ServiceDescriptor, comments: dict[str, str]) -> list[str]:
    parts = [f"## {service.name}\n", _prose(comments.get(service.full_name, "")) + "\n"]
    for method in service.methods:
        parts += _method(method, comments)
    return parts


def _method(method: MethodDescriptor, comments: dict[str, str]) -> list[str]:
    said = contract.access(method)
    may = "anybody" if said.public else ", ".join(f"`{role}`" for role in sorted(said.roles))
    if said.unbound:
        may += ", of all tenants"
    routes = [f"`{path.verb.upper()} {path.template}`" for path in contract.paths(method)]
    parts = [
        f"### {method.name}\n",
        f"{', '.join(routes)} · {may}\n",
        _prose(comments.get(method.full_name, "")) + "\n",
    ]
    path = contract.paths(method)[0]
    bound = {name.split(".")[0] for name in path.bound}
    rows = [
        (field, "path" if field.name in bound and field.name != path.body else _place(field, path))
        for field in method.input_type.fields
    ]
    if rows:
        parts += ["| field | in | type | |", "| --- | --- | --- | --- |"]
        parts += [
            f"| `{field.name}` | {place} | {_type(field)} | {_cell(field, comments)} |"
            for field, place in rows
        ]
        parts.append("")
    output = method.output_type
    if output.full_name == "google.api.HttpBody":
        parts.append(f"Answers `{contract.produces(method)}`.\n")
    elif output.full_name != "google.protobuf.Empty":
        parts.append(f"Answers {_link(output)}.\n")
    return parts


def _place(field: FieldDescriptor, path: contract.HttpPath) -> str:
    return "body" if path.body in ("*", field.name) else "query"


def _message(message: Descriptor, comments: dict[str, str]) -> list[str]:
    parts = [f"### {contract.name_of(message)}\n"]
    if text := comments.get(message.full_name, ""):
        parts.append(_prose(text) + "\n")
    if message.fields:
        parts += ["| field | type | |", "| --- | --- | --- |"]
        parts += [
            f"| `{field.name}` | {_type(field)} | {_cell(field, comments)} |" for field in message.fields
        ]
        parts.append("")
    return parts


def _type(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        message = field.message_type
        ours = message.full_name.startswith("sovereign.") and not message.GetOptions().map_entry
        name = _link(message) if ours else message.name
    elif field.enum_type is not None:
        name = " \\| ".join(f"`{value.name}`" for value in field.enum_type.values[1:])
    else:
        name = _SCALARS.get(field.type, "number")
    return f"list of {name}" if field.is_repeated else name


def _link(message: Descriptor) -> str:
    name = contract.name_of(message)
    return f"[{name}](#{name.lower().replace('.', '')})"


_SCALARS = {
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_BYTES: "base64",
    FieldDescriptor.TYPE_INT64: "64-bit integer, as text",
    FieldDescriptor.TYPE_UINT64: "64-bit integer, as text",
    FieldDescriptor.TYPE_INT32: "integer",
    FieldDescriptor.TYPE_UINT32: "integer",
}


def _cell(field: FieldDescriptor, comments: dict[str, str]) -> str:
    said = contract.behaviour(field)
    words = [
        word for name, word in (("REQUIRED", "Required."), ("OUTPUT_ONLY", "Output only.")) if name in said
    ]
    words.append(_prose(comments.get(field.full_name, "")).replace("\n", " ").replace("|", "\\|"))
    return " ".join(word for word in words if word)


def _prose(text: str) -> str:
    """``<`` outside of code would be HTML."""
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(text.split("`")))
