"""A stand-in for Google Cloud, where nothing real can run: token endpoint, metadata server, Secret Manager, Cloud KMS.

Run in the judges' environment; prints its port. Written from Google's REST references, not from the code that it
judges. What it is strict about:

* the JWT grant: google-auth verifies signature, audience, ``iat`` and ``exp`` with the account's public key, PyJWT
  verifies it once more; ``iss``, ``kid``, ``scope``, ``typ`` and a life of at most an hour are compared
* bearer tokens: known, not expired, not withdrawn
* CRC-32C (bit by bit, from the polynomial) of everything that has one, sent as a decimal text (int64 in JSON)
* Cloud KMS encrypts with AES-256-GCM under the additional authenticated data, so another key or context fails

What it does not do: IAM (``/control`` says who is denied), versions but the latest, asymmetric keys.

``POST /control`` with JSON sets things: ``{"account": {email, key_id, public_key}}``, ``{"secret": {project, name,
text | data, state?}}``, ``{"faults": [[status, headers, body], …]}`` (each meets one request, in order),
``{"withdraw": true}`` (no token so far is accepted), ``{"life_s": n}``, ``{"corrupt": true}`` (wrong checksums),
``{"deny": true}``. ``GET /control`` lists the requests so far.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import google.auth.jwt
import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def crc32c(data: bytes) -> int:
    """Castagnoli, reflected, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class World:
    """Everything there is."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, str]] = {}
        self.secrets: dict[tuple[str, str], dict[str, str]] = {}
        self.tokens: dict[str, float] = {}
        self.faults: list[list[Any]] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: dict[str, bytes] = {}
        self.life_s = 3600
        self.corrupt = False
        self.deny = False

    def control(self, order: dict[str, Any]) -> None:
        if "account" in order:
            self.accounts[order["account"]["email"]] = order["account"]
        if "secret" in order:
            secret = order["secret"]
            self.secrets[secret["project"], secret["name"]] = secret
        self.faults += order.get("faults", [])
        self.life_s = order.get("life_s", self.life_s)
        self.corrupt = order.get("corrupt", self.corrupt)
        self.deny = order.get("deny", self.deny)
        if order.get("withdraw"):
            self.tokens.clear()

    def checksum(self, data: bytes) -> str:
        return str(crc32c(data) ^ (1 if self.corrupt else 0))


WORLD = World()
_ACCESS = re.compile(r"/v1/projects/([a-z0-9-]+)/secrets/([A-Za-z0-9_-]{1,255})/versions/latest:access")
_CRYPTO = re.compile(
    r"/v1/(projects/[a-z0-9-]+/locations/[a-z0-9-]+/keyRings/[\w-]+/cryptoKeys/[\w-]+):(encrypt|decrypt)"
)


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def google_error(status: int, name: str, message: str) -> Refused:
    return Refused(status, {"error": {"code": status, "message": message, "status": name}})


def oauth_error(code: str, text: str) -> Refused:
    return Refused(400, {"error": code, "error_description": text})


def grant(form: dict[str, list[str]]) -> dict[str, Any]:
    if form.get("grant_type") != [GRANT]:
        raise oauth_error("unsupported_grant_type", "Invalid grant_type")
    (assertion,) = form["assertion"]
    try:
        header = jwt.get_unverified_header(assertion)
        issuer = jwt.decode(assertion, options={"verify_signature": False})["iss"]
        account = WORLD.accounts[issuer]
        public = account["public_key"]
        claims = google.auth.jwt.decode(assertion, certs=public, audience=AUDIENCE)
        again = jwt.decode(assertion, public, algorithms=["RS256"], audience=AUDIENCE, issuer=issuer)
        assert claims == again
        assert header == {"alg": "RS256", "typ": "JWT", "kid": account["key_id"]}, "header"
        assert set(claims) == {"iss", "scope", "aud", "iat", "exp"}, "claims"
        assert claims["scope"] == SCOPE, "scope"
        assert 0 < claims["exp"] - claims["iat"] <= 3600, "life"
    except Exception as error:
        raise oauth_error("invalid_grant", f"Invalid JWT Signature. {type(error).__name__} {error}") from None
    return token()


def token() -> dict[str, Any]:
    text = "ya29." + base64.urlsafe_b64encode(os.urandom(24)).decode()
    WORLD.tokens[text] = time.time() + WORLD.life_s
    return {"access_token": text, "expires_in": WORLD.life_s, "token_type": "Bearer"}


def authorise(value: str) -> None:
    if WORLD.tokens.get(value.removeprefix("Bearer "), 0.0) <= time.time():
        raise google_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    if WORLD.deny:
        raise google_error(403, "PERMISSION_DENIED", "Permission denied on resource.")


def access(project: str, name: str) -> dict[str, Any]:
    secret = WORLD.secrets.get((project, name))
    if secret is None:
        raise google_error(404, "NOT_FOUND", f"Secret [{name}] not found or has no versions.")
    if secret.get("state", "ENABLED") != "ENABLED":
        raise google_error(400, "FAILED_PRECONDITION", f"Secret Version is in {secret['state']} state.")
    data = base64.b64decode(secret["data"]) if "data" in secret else secret["text"].encode()
    payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": WORLD.checksum(data)}
    return {"name": f"projects/1/secrets/{name}/versions/1", "payload": payload}


def received(body: dict[str, str], name: str) -> bytes:
    """A member's bytes, if the checksum beside it is right."""
    data = base64.b64decode(body[name], validate=True)
    if body.get(f"{name}Crc32c") != str(crc32c(data)):
        raise google_error(400, "INVALID_ARGUMENT", f"The checksum in field {name}_crc32c did not match.")
    return data


def crypt(name: str, action: str, body: dict[str, str]) -> dict[str, Any]:
    if name.endswith("/absent"):
        raise google_error(404, "NOT_FOUND", "CryptoKey not found.")
    cipher = AESGCM(WORLD.keys.setdefault(name, AESGCM.generate_key(256)))
    context = received(body, "additionalAuthenticatedData")
    if action == "encrypt":
        nonce = os.urandom(12)
        sealed = nonce + cipher.encrypt(nonce, received(body, "plaintext"), context)
        return {
            "name": f"{name}/cryptoKeyVersions/1",
            "ciphertext": base64.b64encode(sealed).decode(),
            "ciphertextCrc32c": WORLD.checksum(sealed),
            "verifiedPlaintextCrc32c": True,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
            "protectionLevel": "SOFTWARE",
        }
    sealed = received(body, "ciphertext")
    try:
        plain = cipher.decrypt(sealed[:12], sealed[12:], context)
    except (InvalidTag, ValueError):
        raise google_error(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.") from None
    return {"plaintext": base64.b64encode(plain).decode(), "plaintextCrc32c": WORLD.checksum(plain)}


class Wire(BaseHTTPRequestHandler):
    """HTTP/1.1 of it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    def _answer(self, body: bytes) -> None:
        if self.path == "/control":
            if self.command == "POST":
                WORLD.control(json.loads(body))
            self._send(200, {}, json.dumps(WORLD.seen).encode())
            return
        WORLD.seen.append({"method": self.command, "path": self.path})
        if WORLD.faults:
            status, headers, text = WORLD.faults.pop(0)
            self._send(status, headers, text.encode())
            return
        try:
            self._send(200, {"metadata-flavor": "Google"}, json.dumps(self._route(body)).encode())
        except Refused as refused:
            self._send(refused.status, {}, json.dumps(refused.body).encode())

    def _route(self, body: bytes) -> dict[str, Any]:
        if (self.command, self.path) == ("POST", "/token"):
            return grant(parse_qs(body.decode()))
        if self.path == "/computeMetadata/v1/instance/service-accounts/default/token":
            if self.headers.get("metadata-flavor") != "Google":
                raise Refused(403, {})
            return token()
        authorise(self.headers.get("authorization", ""))
        if self.command == "GET" and (found := _ACCESS.fullmatch(self.path)):
            return access(*found.groups())
        if self.command == "POST" and (found := _CRYPTO.fullmatch(self.path)):
            return crypt(*found.groups(), json.loads(body))
        raise google_error(404, "NOT_FOUND", "Not found")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wire)
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
