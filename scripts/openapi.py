"""Writes the OpenAPI 3.1 document of the management API and its reference page from the protos. For developers.

Three files, all checked in: ``docs/reference/openapi.json``; the same as ``sovereign_ext/management/openapi.json``,
which the processor serves; and ``docs/reference/methods.md``. JSON is protobuf's mapping as Envoy's transcoder is
configured (``management.descriptor``): names in snake_case, 64-bit integers as text.

    python scripts/openapi.py            writes them
    python scripts/openapi.py --check    exits 1 when one is not what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

import contract
import methods_page
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs/reference/openapi.json"
SERVED: Final = ROOT / "sovereign_ext/management/openapi.json"
PAGE: Final = ROOT / "docs/reference/methods.md"

_F: Final = FieldDescriptor
_INT64: Final = {_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64}
_INT32: Final = {_F.TYPE_INT32, _F.TYPE_UINT32, _F.TYPE_SINT32, _F.TYPE_FIXED32, _F.TYPE_SFIXED32}
_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, joined by commas."},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Empty": {"type": "object"},
}
_ERRORS: Final = {
    "400": "The request can never succeed as it is.",
    "401": "No key, or none that opens anything.",
    "403": "Not for this role.",
    "404": "It is not there, or it is not the caller's: the answers are the same.",
    "409": "It is there already, of another revision, or declared in the configuration file.",
    "429": "The body is too large.",
    "503": "Not at this moment; `Retry-After` says when to ask again.",
}
_PUBLIC_ERRORS: Final = ("400", "404", "503")


class Writer:
    """Makes the document; ``comments`` are by full name."""

    def __init__(self, comments: dict[str, str]) -> None:
        self._comments = comments

    def document(self) -> dict[str, Any]:
        """All of it."""
        paths: dict[str, dict[str, Any]] = {}
        for service in contract.SERVICES:
            for method in service.methods:
                for at, path in enumerate(contract.paths(method)):
                    paths.setdefault(path.template, {})[path.verb] = self._operation(method, path, at)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Sovereign Router management API",
                "version": "v1",
                "description": "Generated from proto/ by scripts/openapi.py.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "tags": [
                {"name": service.name, "description": self._comments.get(service.full_name, "")}
                for service in contract.SERVICES
            ],
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A key or an OpenID Connect token.",
                    }
                },
                "responses": {
                    f"Error{code}": {
                        "description": text,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                    }
                    for code, text in _ERRORS.items()
                },
                "schemas": {
                    "Error": {
                        "anyOf": [
                            {"$ref": "#/components/schemas/Status"},
                            {"$ref": "#/components/schemas/GatewayError"},
                        ]
                    },
                    **{contract.name_of(message): self._schema(message) for message in self._shown()},
                    "Status": _STATUS,
                    "GatewayError": _GATEWAY_ERROR,
                },
            },
        }

    def _shown(self) -> list[Descriptor]:
        found = contract.messages()
        requests = {
            method.input_type.full_name for service in contract.SERVICES for method in service.methods
        }
        return [message for message in found if message.full_name not in requests]

    def _operation(self, method: MethodDescriptor, path: contract.HttpPath, at: int) -> dict[str, Any]:
        said = contract.access(method)
        text = self._comments.get(method.full_name, "")
        operation: dict[str, Any] = {
            "operationId": method.name + (f"_{at}" if at else ""),
            "tags": [method.containing_service.name],
            "summary": text.split("\n")[0].split(". ")[0].rstrip("."),
            "description": text,
            "parameters": [*self._path_parameters(path), *self._query(method, path)],
            "responses": self._responses(method, public=said.public),
            "x-roles": sorted(said.roles),
        }
        if said.public:
            operation["security"] = []
        elif path.verb in ("post", "patch", "delete") and not method.name.startswith("Evaluate"):
            operation["parameters"].append(_REASON)
        if path.body:
            operation["requestBody"] = self._body(method, path)
        return operation

    def _path_parameters(self, path: contract.HttpPath) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
                **({"description": "May have slashes.", "allowReserved": True} if pattern == "**" else {}),
            }
            for name, pattern in path.variables.items()
        ]

    def _query(self, method: MethodDescriptor, path: contract.HttpPath) -> list[dict[str, Any]]:
        if path.body == "*":
            return []
        taken = {name.split(".")[0] for name in path.bound} | {path.body}
        return [
            {
                "name": field.name,
                "in": "query",
                "required": "REQUIRED" in contract.behaviour(field),
                "description": self._comments.get(field.full_name, ""),
                "schema": self._field(field),
            }
            for field in method.input_type.fields
            if field.name not in taken
        ]

    def _body(self, method: MethodDescriptor, path: contract.HttpPath) -> dict[str, Any]:
        if path.body == "*":
            schema = self._object(
                [field for field in method.input_type.fields if field.name not in path.bound]
            )
        else:
            named = method.input_type.fields_by_name[path.body].message_type
            assert named is not None
            schema = self._object([field for field in named.fields if not _output_only(field)])
            if path.verb == "patch":
                schema.pop("required", None)  # what is not given stays
                schema["type"] = ["object", "null"]
        return {"required": path.verb != "patch", "content": {"application/json": {"schema": schema}}}

    def _responses(self, method: MethodDescriptor, *, public: bool) -> dict[str, Any]:
        output, kind = method.output_type, contract.produces(method)
        if output.full_name == "google.api.HttpBody":
            schema: dict[str, Any] = {"type": "object"} if kind == "application/json" else {}
        else:
            schema = _WELL_KNOWN.get(output.full_name) or _reference(output)
        return {
            "200": {"description": "It is done.", "content": {kind: {"schema": schema}}},
            **{
                code: {"$ref": f"#/components/responses/Error{code}"}
                for code in _ERRORS
                if not public or code in _PUBLIC_ERRORS
            },
        }

    def _schema(self, message: Descriptor) -> dict[str, Any]:
        text = self._comments.get(message.full_name, "")
        schema = self._object(list(message.fields))
        schema.pop("required", None)  # of answers nothing may be relied on but what is documented
        schema.pop("additionalProperties")  # new members may appear at any time
        return {**({"description": text} if text else {}), **schema}

    def _object(self, fields: list[FieldDescriptor]) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {field.name: self._described(field) for field in fields},
            "additionalProperties": False,
        }
        required = [field.name for field in fields if "REQUIRED" in contract.behaviour(field)]
        if required:
            schema["required"] = required
        return schema

    def _described(self, field: FieldDescriptor) -> dict[str, Any]:
        schema = _nullable(self._field(field))
        if text := self._comments.get(field.full_name, ""):
            schema["description"] = text
        if _output_only(field):
            schema["readOnly"] = True
        return schema

    def _field(self, field: FieldDescriptor) -> dict[str, Any]:
        single = self._single(field)
        if not field.is_repeated:
            return single
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._single(entry.fields_by_name["value"])}
        return {"type": "array", "items": single}

    def _single(self, field: FieldDescriptor) -> dict[str, Any]:
        if field.message_type is not None:
            known = _WELL_KNOWN.get(field.message_type.full_name)
            return _reference(field.message_type) if known is None else known
        if field.enum_type is not None:
            return _enum(field.enum_type)
        if field.type in _INT64:
            return {"type": ["string", "integer"], "format": "int64", "pattern": r"^-?[0-9]{1,19}$"}
        if field.type in _INT32:
            return {"type": "integer", "format": "int32"}
        if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
            return {"type": "number"}
        if field.type == _F.TYPE_BOOL:
            return {"type": "boolean"}
        return {"type": "string", **({"format": "byte"} if field.type == _F.TYPE_BYTES else {})}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Protobuf takes ``null`` for a member that is left out."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "enum" in schema:
        return {**schema, "type": ["string", "null"], "enum": [*schema["enum"], None]}
    kinds = schema.get("type")
    return {
        **schema,
        **({} if kinds is None else {"type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}),
    }


def _output_only(field: FieldDescriptor) -> bool:
    return "OUTPUT_ONLY" in contract.behaviour(field)


def _enum(kind: EnumDescriptor) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in kind.values]}


def _reference(message: Descriptor) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{contract.name_of(message)}"}


_REASON: Final = {
    "name": "x-sf-reason",
    "in": "header",
    "required": False,
    "description": "Why; it goes into the entry of the change.",
    "schema": {"type": "string", "maxLength": 500, "pattern": "^[ -~]*$"},
}
_STATUS: Final = {
    "description": "google.rpc.Status, as the services answer.",
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer", "description": "The gRPC code."},
        "message": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object"}},
    },
}
_GATEWAY_ERROR: Final = {
    "description": "What Envoy answers by itself.",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "properties": {"message": {"type": "string"}}}},
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the documents of the management API.")
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    options = parser.parse_args(argv)
    comments = contract.comments()
    text = json.dumps(Writer(comments).document(), indent=1, ensure_ascii=False) + "\n"
    wanted = {DOCUMENT: text, SERVED: text, PAGE: methods_page.page(comments)}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if options.check:
            print(f"{path}: not what proto/ gives; run `make proto`", file=sys.stderr)
        else:
            path.write_text(wanted[path], "utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
