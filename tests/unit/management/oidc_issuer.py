"""An OpenID Connect issuer on loopback: real keys, real HTTP or HTTPS, and a count of what it was asked."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://login.test.example"
AUDIENCE = "sovereign-router"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class SigningKey:
    """One private key of an issuer."""

    kid: str
    alg: str = "RS256"
    key: Any = None

    def __post_init__(self) -> None:
        if self.key is None:
            self.key = {
                "RS256": lambda: rsa.generate_private_key(65537, 2048),
                "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
                "EdDSA": ed25519.Ed25519PrivateKey.generate,
            }[self.alg]()

    def jwk(self) -> dict[str, Any]:
        public = self.key.public_key()
        if self.alg == "RS256":
            numbers = public.public_numbers()
            members = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        elif self.alg == "ES256":
            numbers = public.public_numbers()
            x, y = (b64(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
            members = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        else:
            members = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        return {**members, "kid": self.kid, "use": "sig", "alg": self.alg}

    def pem(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, data: bytes) -> bytes:
        if self.alg == "RS256":
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.key.sign(data)


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token for an admin; ``None`` takes one out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": now,
        "exp": now + 300,
        "groups": ["router-admins"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(key: SigningKey, payload: Mapping[str, Any] | bytes, **header: Any) -> str:
    """A compact JWS; ``header`` changes what it would say, ``None`` takes a parameter out."""
    said = {"alg": key.alg, "kid": key.kid, "typ": "JWT", **header}
    said = {name: value for name, value in said.items() if value is not None}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(json.dumps(said).encode())}.{b64(body)}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def hmac_token(secret: bytes, payload: Mapping[str, Any], kid: str) -> str:
    """Signed with a shared secret: what a confused verifier would check with a public key."""
    signed = f"{b64(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{b64(json.dumps(payload).encode())}"
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(signed.encode())
    return f"{signed}.{b64(mac.finalize())}"


@dataclass
class RunningIssuer:
    """What a test sets and reads. ``status`` other than 200 is an outage."""

    keys: list[SigningKey]
    url: str = ""
    status: int = 200
    body: bytes | None = None
    asked: int = 0
    gate: threading.Event = field(default_factory=threading.Event)


@contextmanager
def issuer(*keys: SigningKey, tls: ssl.SSLContext | None = None) -> Iterator[RunningIssuer]:
    """Serves ``/jwks`` on a free port until the block ends."""
    here = RunningIssuer(list(keys))
    here.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked += 1
            here.gate.wait(10)
            body = here.body
            if body is None:
                body = json.dumps({"keys": [key.jwk() for key in here.keys]}).encode()
            self.send_response(here.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    here.url = f"{'https' if tls else 'http'}://localhost:{server.server_port}/jwks"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield here
    finally:
        here.gate.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
