"""A mock attestation verifier: hands out evidence for a certificate, as an attestation service would, or broken.

For the demo and for tests: it attests nothing, its tokens say what they were told to say. It is a wire like those
of the providers, so every fault of docs/reference/mock.md strikes it too; besides, ``/_mock/verifier`` changes what
its tokens say while it runs. ``POST /attest`` and ``/.well-known/jwks.json`` are described in
docs/reference/evidence.md.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.reply import Call, Event, Failure, Identity, Reply, Stage, encode, event, json_reply
from sovereign_ext.mock.verifier_token import Channel, Signer, base64url, measured

ATTEST_PATH: Final = "/attest"
KEYS_PATH: Final = "/.well-known/jwks.json"
CONTROL_PATH: Final = "/_mock/verifier"
EAT_JWT: Final = "application/eat+jwt"
ISSUER: Final = "urn:sovereign:mock-verifier"
MEASUREMENT: Final = sha256(b"sovereign mock enclave").hexdigest()


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tokens say, and what is wrong with them. Each name under "wrong" defaults to nothing wrong."""

    measurement: str = MEASUREMENT
    issuer: str = ISSUER
    lifetime_s: Annotated[int, msgspec.Meta(ge=1)] = 300
    debug: bool = False
    binding: Literal["jwk", "x5t#S256", "spki"] = "jwk"
    # wrong
    expired: bool = False  # the token's life ended a second ago
    future_s: int = 0  # the verifier's clock is so far ahead
    other_key: bool = False  # bound to a key that nobody has
    unbound: bool = False  # bound to no key
    wrong_nonce: bool = False
    wrong_issuer: bool = False
    foreign_signature: bool = False  # by a key that the key set does not hold, under the kid of one it does
    alg_none: bool = False
    down: bool = False  # 503 for everything


class Verifier:
    """The wire. ``certificate`` is PEM; ``signer`` a key of its own unless given one."""

    kind = "verifier"
    default_models: tuple[str, ...] = ()

    def __init__(
        self, certificate: bytes, *, signer: Signer | None = None, behaviour: Behaviour | None = None
    ) -> None:
        self.channel = Channel(certificate)
        self.signer = signer or Signer()
        self.behaviour = self._base = behaviour or Behaviour()
        self._stranger = Signer()

    @property
    def jwks(self) -> bytes:
        """The key set, as it is served."""
        return encode({"keys": [self.signer.jwk]})

    def behave(self, **changes: Any) -> None:
        """Let tokens be as at the start, but for these changes. Raises ``CallerError`` for what cannot be."""
        known = {**msgspec.to_builtins(self._base), **changes}
        try:
            self.behaviour = msgspec.convert(known, Behaviour)
        except msgspec.ValidationError as error:
            raise CallerError(400, f"not a behaviour of a verifier: {error}") from None

    def token(self, nonce: str | None, now_s: int) -> str:
        """A token as the behaviour wants it, issued at ``now_s`` (Unix seconds)."""
        told = self.behaviour
        issued = now_s + told.future_s - (told.lifetime_s + 1 if told.expired else 0)
        claims: dict[str, Any] = {
            "iss": told.issuer + ("-other" if told.wrong_issuer else ""),
            "iat": issued,
            "nbf": issued,
            "exp": issued + told.lifetime_s,
            "dbgstat": "enabled" if told.debug else "disabled-since-boot",
            **measured(told.measurement),
        }
        if nonce is not None:
            claims["eat_nonce"] = base64url(sha256(nonce.encode()).digest()) if told.wrong_nonce else nonce
        if told.other_key:
            claims["cnf"] = {"jwk": {name: self._stranger.jwk[name] for name in ("kty", "crv", "x", "y")}}
        elif not told.unbound:
            claims |= self.channel.confirmations[told.binding]
        signer = self._stranger if told.foreign_signature else self.signer
        return signer.sign(claims, alg="none" if told.alg_none else "ES256", kid=self.signer.kid)

    # The wire

    def read(self, request: Request) -> Call:
        """See ``Wire.read``."""
        if self.behaviour.down:
            raise CallerError(503, "the verifier is down")
        accepts = request.header("accept") or ""
        bare = EAT_JWT if EAT_JWT in accepts and "application/json" not in accepts else ""
        match request.method, request.path:
            case "GET", "/.well-known/jwks.json":
                return Call("keys", "", {})
            case "POST", "/attest":
                return Call("attest", "", {"nonce": _nonce(request.body)}, detail=bare)
            case "GET", "/attest":
                return Call("attest", "", {"nonce": None}, detail=bare)
            case _, "/attest" | "/.well-known/jwks.json":
                raise CallerError(405, "expected GET, or POST for /attest")
        raise CallerError(404, f"expected {ATTEST_PATH} or {KEYS_PATH}")

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        if call.op == "keys":
            return Reply(body=self.jwks, content_type="application/jwk-set+json")
        token = self.token(call.body["nonce"], identity.created)
        if call.detail:
            return Reply(body=token.encode(), content_type=call.detail)
        return json_reply({"token": token})

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``."""
        return json_reply({"error": failure.message or "failed"}, status=failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``. Nothing is streamed here, so nothing asks for it."""
        return event(Stage.FAILURE, {"error": failure.message})

    def control(self, request: Request) -> Reply | None:
        """See ``Controlled.control``: GET, POST and DELETE of ``/_mock/verifier``."""
        if request.path != CONTROL_PATH:
            return None
        if request.method == "POST":
            self.behave(**_object(request.body))
        elif request.method == "DELETE":
            self.behave()
        elif request.method != "GET":
            raise CallerError(405, "expected GET, POST or DELETE")
        return json_reply(msgspec.to_builtins(self.behaviour))


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise CallerError(400, "expected a JSON object") from None


def _nonce(body: bytes) -> str:
    nonce = _object(body).get("nonce")
    if not isinstance(nonce, str) or not 8 <= len(nonce) <= 88:  # RFC 9711, section 4.1
        raise CallerError(400, "nonce has to be text of 8 to 88 characters")
    return nonce
