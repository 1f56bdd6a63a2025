"""A Terraform provider that knows the AWS provider's schema and nothing else: ``validate``, ``test`` without network.

Speaks Terraform's plugin protocol 5 over gRPC on a Unix socket: the schema of ``aws.json``, and yes to every value
whose type fits it. ``terraform test`` mocks the provider, so nothing else of it is asked. As ``random`` it opens
``random_password``, which is not mocked, with random text. Messages are built here field by field, from the
protocol's field numbers. Its argument says which provider it is, ``aws`` or ``random``; needs ``grpcio`` and
``msgspec``. It makes, reads and changes nothing anywhere.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec

NESTING: Final = {"single": 1, "list": 2, "set": 3}
HERE: Final = Path(__file__).resolve().parent


def number(field: int, value: int) -> bytes:
    """A varint field of a message; nothing for zero, as protobuf has it."""
    return varint(field << 3) + varint(value) if value else b""


def data(field: int, value: bytes | str) -> bytes:
    """A field of bytes, text or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def block(given: dict[str, Any]) -> bytes:
    """``Schema.Block``."""
    out = b""
    for name, (kind, computed, optional, required, *rest) in given["attributes"].items():
        attribute = data(1, name) + data(2, json.dumps(kind))
        attribute += number(4, required) + number(5, optional) + number(6, computed) + number(10, bool(rest))
        out += data(2, attribute)
    for name, inner in given.get("blocks", {}).items():
        nested = data(1, name) + data(2, block(inner["block"])) + number(3, NESTING[inner["nesting"]])
        out += data(3, nested + number(4, inner["min"]) + number(5, inner["max"]))
    return out


def schema(given: dict[str, Any]) -> bytes:
    """``Schema`` with the block ``given``."""
    return data(2, block(given))


def entries(field: int, given: dict[str, Any]) -> bytes:
    """A map from names to schemas."""
    return b"".join(data(field, data(1, name) + data(2, schema(inner))) for name, inner in given.items())


def aws() -> bytes:
    """``GetProviderSchema.Response`` of the AWS provider."""
    known = json.loads((HERE / "aws.json").read_text("utf-8"))
    tags = {"attributes": {"tags": [["map", "string"], False, True, False]}}
    own = {
        "attributes": {"region": ["string", False, True, False]},
        "blocks": {"default_tags": {"nesting": "list", "min": 0, "max": 1, "block": tags}},
    }
    return data(1, schema(own)) + entries(2, known["resource"]) + entries(3, known["data"])


def random() -> bytes:
    """``GetProviderSchema.Response`` of the random provider: ``random_password`` as an ephemeral resource."""
    password = {
        "attributes": {
            "length": ["number", False, False, True],
            **{name: ["bool", True, True, False] for name in ("special", "upper", "lower", "numeric")},
            "result": ["string", True, False, False],
            "bcrypt_hash": ["string", True, False, False],
        }
    }
    return data(1, schema({"attributes": {}})) + entries(8, {"random_password": password})


def opened(request: bytes) -> bytes:
    """``OpenEphemeralResource.Response``: a value of ``random_password``, as long as the configuration wants it."""
    given = msgspec.msgpack.decode(member(member(request, 2), 1))
    value = {name: given[name] is not False for name in ("special", "upper", "lower", "numeric")}
    length = int(given["length"])
    result = {"length": length, **value, "result": secrets.token_hex(length)[:length], "bcrypt_hash": ""}
    return data(3, data(2, json.dumps(result)))


def member(message: bytes, field: int) -> bytes:
    """The field of bytes ``field`` of a message that has nothing but such fields."""
    at = 0
    while at < len(message):
        found, at = message[at] >> 3, at + 1
        size = shift = 0
        while True:
            size |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if not message[at - 1] & 128:
                break
        if found == field:
            return message[at : at + size]
        at += size
    raise ValueError(f"no field {field}")


class Plugin(grpc.GenericRpcHandler):
    """Every method by its name; the empty message where there is nothing to say."""

    def __init__(self, answers: dict[str, bytes], over: threading.Event) -> None:
        self._answers = answers
        self._over = over

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "Shutdown":
            self._over.set()
        elif method not in self._answers:
            return None

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if method == "OpenEphemeralResource":
                return opened(request)
            if method == "PrepareProviderConfig":
                return request  # field 1 in both: the configuration
            return self._answers.get(method, b"")

        return grpc.unary_unary_rpc_method_handler(answer)


def main() -> None:
    """Serve until Terraform says that it is over, or is gone."""
    own = {"aws": aws, "random": random}[sys.argv[1]]()
    nothing = (
        "PrepareProviderConfig", "ValidateResourceTypeConfig", "ValidateDataSourceConfig", "Configure", "Stop",
        "ValidateEphemeralResourceConfig", "OpenEphemeralResource", "CloseEphemeralResource",
        "GetResourceIdentitySchemas",
    )  # fmt: skip
    over = threading.Event()
    server = grpc.server(
        ThreadPoolExecutor(4), handlers=[Plugin({"GetSchema": own, **dict.fromkeys(nothing, b"")}, over)]
    )
    with tempfile.TemporaryDirectory(prefix="tf-") as directory:
        socket = f"{directory}/plugin"
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        print(f"1|5|unix|{socket}|grpc|", flush=True)  # go-plugin's handshake
        while not over.wait(1.0) and os.getppid() != 1:
            pass
        server.stop(0.2).wait()


if __name__ == "__main__":
    main()
