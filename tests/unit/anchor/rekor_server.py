"""A Rekor for tests: real HTTP on loopback, written from the facts of both APIs, sharing no code with what it tests.

It verifies what it is sent as Rekor does (digest, signature, key type), keeps an RFC 6962 tree, and signs checkpoints
and entry timestamps with its own key, Ed25519 or P-256. ``fault`` makes it misbehave; every request is kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

Answer = tuple[int, dict[str, str], bytes]
TREE_ID = 1193050959916656506


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it stands there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), root(leaves[k:])]
    return [*path(m - k, leaves[k:]), root(leaves[:k])]


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclass
class Rekor:
    """The log. ``fault(request number, answer)`` may change or delay an answer before it is sent."""

    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    name: str = "rekor.test"
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    offset: int = 0  # index of the first entry in v1, as after a shard was closed
    serves_tiles: bool = True
    fault: Callable[[int, Answer], Answer | None] = lambda _, answer: answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def fill(self, number: int) -> None:
        """Entries of others."""
        self.bodies += [b"somebody else's %d" % len(self.bodies) for _ in range(number)]

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        return self.key.sign(message, ec.ECDSA(SHA256()))

    def log_id(self, version: int) -> bytes:
        if version == 2 and isinstance(self.key, Ed25519PrivateKey):
            raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return hashlib.sha256(self.name.encode() + b"\n\x01" + raw).digest()
        return hashlib.sha256(self.spki).digest()

    def checkpoint(self, version: int) -> str:
        leaves = [leaf(body) for body in self.bodies]
        origin = self.name if version == 2 else f"{self.name} - {TREE_ID}"
        text = f"{origin}\n{len(leaves)}\n{b64(root(leaves))}\n"
        return f"{text}\n— {self.name} {b64(self.log_id(version)[:4] + self.sign(text.encode()))}\n"

    def answer(self, method: str, target: str, data: bytes) -> Answer:
        with self.lock:
            self.requests.append(f"{method} {target}")
            if (method, target) == ("POST", "/api/v2/log/entries"):
                return self._post_v2(json.loads(data))
            if (method, target) == ("POST", "/api/v1/log/entries"):
                return self._post_v1(json.loads(data))
            if method == "GET" and target.startswith("/api/v1/log/entries/"):
                return self._get_v1(target.rpartition("/")[2])
            if method == "GET" and self.serves_tiles and target == "/api/v2/checkpoint":
                return 200, {}, self.checkpoint(2).encode()
            if method == "GET" and self.serves_tiles and target.startswith("/api/v2/tile/"):
                return self._tile(target.removeprefix("/api/v2/tile/"))
            return 404, {}, b'{"code":5,"message":"Not Found"}'

    def _post_v2(self, document: Any) -> Answer:
        try:
            (request,) = document.values()
            assert list(document) == ["hashedRekordRequestV002"]
            assert request.keys() == {"digest", "signature"}
            signature = request["signature"]
            verifier = signature["verifier"]
            assert verifier["keyDetails"] == "PKIX_ECDSA_P256_SHA_256"
            key = load_der_public_key(base64.b64decode(verifier["publicKey"]["rawBytes"], validate=True))
            self._check(key, request["digest"], signature["content"])
        except (AssertionError, KeyError, ValueError, InvalidSignature):
            return 400, {}, b'{"code":3,"message":"invalid hashedrekord request"}'
        data = {"algorithm": "SHA2_256", "digest": request["digest"]}
        spec = {"hashedRekordV002": {"data": data, "signature": signature}}
        body = canonical({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec})
        if body in self.bodies:
            index = self.bodies.index(body)
            message = f"an equivalent entry already exists in the transparency log with index {index}"
            return 409, {"x-log-index": str(index)}, canonical({"code": 6, "message": message})
        self.bodies.append(body)
        return 201, {}, canonical(self.entry_v2(len(self.bodies) - 1))

    def entry_v2(self, index: int) -> dict[str, Any]:
        leaves = [leaf(body) for body in self.bodies]
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.log_id(2))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "integratedTime": "0",
            "inclusionPromise": None,
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(root(leaves)),
                "treeSize": str(len(leaves)),
                "hashes": [b64(hash_) for hash_ in path(index, leaves)],
                "checkpoint": {"envelope": self.checkpoint(2)},
            },
            "canonicalizedBody": b64(self.bodies[index]),
        }

    def _post_v1(self, document: Any) -> Answer:
        try:
            spec = document["spec"]
            assert (document["apiVersion"], document["kind"]) == ("0.0.1", "hashedrekord")
            assert spec["data"]["hash"]["algorithm"] == "sha256"
            key = load_pem_public_key(
                base64.b64decode(spec["signature"]["publicKey"]["content"], validate=True)
            )
            digest = b64(bytes.fromhex(spec["data"]["hash"]["value"]))
            self._check(key, digest, spec["signature"]["content"])
        except (AssertionError, KeyError, ValueError, InvalidSignature):
            return 400, {}, b'{"code":400,"message":"error processing entry"}'
        body = canonical(document)
        known = body in self.bodies
        if not known:
            self.bodies.append(body)
        location = {"location": f"/api/v1/log/entries/{self.uuid(self.bodies.index(body))}"}
        if known:
            return 409, location, b'{"code":409,"message":"an equivalent entry already exists"}'
        return 201, location, canonical(self.entry_v1(len(self.bodies) - 1))

    def uuid(self, index: int) -> str:
        return f"{TREE_ID:016x}{leaf(self.bodies[index]).hex()}"

    def entry_v1(self, index: int) -> dict[str, Any]:
        leaves = [leaf(body) for body in self.bodies]
        payload = {
            "body": b64(self.bodies[index]),
            "integratedTime": 1_767_225_600 + index,
            "logID": self.log_id(1).hex(),
            "logIndex": self.offset + index,
        }
        proof = {
            "checkpoint": self.checkpoint(1),
            "hashes": [hash_.hex() for hash_ in path(index, leaves)],
            "logIndex": index,
            "rootHash": root(leaves).hex(),
            "treeSize": len(leaves),
        }
        verification = {"inclusionProof": proof, "signedEntryTimestamp": b64(self.sign(canonical(payload)))}
        return {self.uuid(index): {**payload, "verification": verification}}

    def _get_v1(self, uuid: str) -> Answer:
        found = [index for index in range(len(self.bodies)) if self.uuid(index) == uuid]
        return (200, {}, canonical(self.entry_v1(found[0]))) if found else (404, {}, b"{}")

    def _tile(self, name: str) -> Answer:
        """Hashes of ``<L>/<N>[.p/<W>]``: hash i of level L is the root over leaves [i * 256^L, (i + 1) * 256^L)."""
        level, _, rest = name.partition("/")
        number, _, partial = rest.partition(".p/")
        under, width = 256 ** int(level), int(partial or 256)
        first = 256 * int(number.replace("/", "").replace("x", ""))
        leaves = [leaf(body) for body in self.bodies]
        whole = [leaves[at : at + under] for at in range(first * under, len(leaves), under)][:width]
        hashes = [root(part) for part in whole if len(part) == under]
        return (200, {}, b"".join(hashes)) if len(hashes) == width else (404, {}, b"")

    @staticmethod
    def _check(key: Any, digest: str, signature: str) -> None:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        prehashed = ec.ECDSA(utils.Prehashed(SHA256()))
        key.verify(
            base64.b64decode(signature, validate=True), base64.b64decode(digest, validate=True), prehashed
        )


@contextmanager
def running(rekor: Rekor, port: int = 0) -> Iterator[Rekor]:
    """Serve ``rekor`` on a free port of loopback until the end of the block."""

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            data = self.rfile.read(int(self.headers.get("content-length", 0)))
            good = rekor.answer(method, self.path, data)
            answer = rekor.fault(len(rekor.requests), good)
            if answer is None:
                self.close_connection = True
                return  # the connection ends without an answer
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Serve)
    server.daemon_threads = True
    rekor.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield rekor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
