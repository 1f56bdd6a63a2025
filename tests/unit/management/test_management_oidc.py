"""OpenID Connect tokens against a real issuer: whom a good one stands for, and that a forged one stands for nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from management_world import World, run
from oidc_issuer import AUDIENCE, ISSUER, RunningIssuer, SigningKey, b64, claims, hmac_token, issuer, token

from sovereign_ext.attest.changes import Actor
from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.config.oidc import Oidc
from sovereign_ext.config.tenancy import Role
from sovereign_ext.errors import ApiError, ConfigError, KeyRefused
from sovereign_ext.management.jwks import COOLDOWN_S, MAX_STALE_S, issuers
from sovereign_ext.management.oidc import Bearer, Tokens

T = TypeVar("T")
RSA, EC, ED = SigningKey("r1"), SigningKey("e1", "ES256"), SigningKey("d1", "EdDSA")
OTHER = SigningKey("r1")  # the same kid, another key
GRANTS = [
    {"claim": "groups", "value": "router-admins", "role": "admin"},
    {"claim": "groups", "value": "acme-people", "role": "tenant_admin", "tenant": "acme"},
    {"claim": ["realm", "roles"], "value": "auditor", "role": "auditor"},
    {
        "claim": "https://x.example/role",
        "value": "tenant-admin",
        "role": "tenant_admin",
        "tenant_claim": ["org", "id"],
    },
]


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def configured(url: str, **changes: Any) -> Oidc:
    each = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": url, "grants": GRANTS, **changes}
    return Oidc.model_validate({"issuers": [each]})


def checker(config: Oidc, clock: Clock | None = None, **documents: bytes) -> Tokens:
    tokens = Tokens(time.time)
    tokens.use(issuers(config, documents, clock or Clock()), config.clock_skew_s)
    return tokens


def served(scenario: Callable[[RunningIssuer, Tokens, Clock], Awaitable[T]], **changes: Any) -> T:
    """A scenario with an issuer that has one key of each kind."""
    with issuer(RSA, EC, ED) as here:
        clock = Clock()
        return asyncio.run(
            asyncio.wait_for(scenario(here, checker(configured(here.url, **changes), clock), clock), 30)
        )  # type: ignore[arg-type]


async def refused(tokens: Tokens, text: str) -> str:
    """The code of the refusal."""
    with pytest.raises(ApiError) as caught:
        await tokens.bearer(text)
    return str(caught.value.code)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.alg)
def test_a_good_token_stands_for_its_subject(key: SigningKey) -> None:
    """Subject and issuer are what a change entry will name."""

    async def scenario(_: RunningIssuer, tokens: Tokens, __: Clock) -> None:
        text = tokens.token(f"Bearer {token(key, claims())}")
        assert text is not None
        assert await tokens.bearer(text) == Bearer(Actor("alice", ISSUER), Role.ADMIN, None)

    served(scenario)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": "router-admins"}, (Role.ADMIN, None)),
        ({"groups": ["x", "acme-people"]}, (Role.TENANT_ADMIN, "acme")),
        ({"groups": ["acme-people", "router-admins"]}, (Role.ADMIN, None)),
        ({"groups": None, "realm": {"roles": ["auditor"]}}, (Role.AUDITOR, None)),
        (
            {"groups": None, "https://x.example/role": "tenant-admin", "org": {"id": "globex"}},
            (Role.TENANT_ADMIN, "globex"),
        ),
        ({"groups": []}, None),
        ({"groups": ["Router-Admins"]}, None),
        ({"groups": {"router-admins": True}}, None),
        ({"groups": [["router-admins"]]}, None),
        ({"groups": None, "realm": ["roles"]}, None),
        ({"groups": None, "https://x.example/role": "tenant-admin"}, None),
        ({"groups": None, "https://x.example/role": "tenant-admin", "org": {"id": ["globex"]}}, None),
        ({"groups": None, "https://x.example/role": "tenant-admin", "org": {"id": "../acme"}}, None),
    ],
)
def test_roles(changes: dict[str, Any], expected: tuple[Role, str | None] | None) -> None:
    """The first grant that fits; a role that wants a tenant is not given without one."""

    async def scenario(_: RunningIssuer, tokens: Tokens, __: Clock) -> None:
        text = token(RSA, claims(**changes))
        if expected is None:
            assert await refused(tokens, text) == "permission_denied"
        else:
            found = await tokens.bearer(text)
            assert (found.role, found.tenant) == expected

    served(scenario)


def _crafted(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}.{b64(signature)}"


HOSTILE: dict[str, Callable[[], str]] = {
    "alg none": lambda: _crafted({"alg": "none"}, claims()),
    "alg None with kid": lambda: _crafted({"alg": "None", "kid": "r1"}, claims()),
    "no alg": lambda: _crafted({"kid": "r1"}, claims()),
    "alg is a list": lambda: _crafted({"alg": ["RS256"], "kid": "r1"}, claims()),
    "hmac with the public key in PEM": lambda: hmac_token(RSA.pem(), claims(), "r1"),
    "hmac with the modulus": lambda: hmac_token(RSA.jwk()["n"].encode(), claims(), "r1"),
    "RS384": lambda: token(RSA, claims(), alg="RS384"),
    "PS256, not configured": lambda: token(RSA, claims(), alg="PS256"),
    "an EC key as RS256": lambda: token(EC, claims(), alg="RS256"),
    "an RSA key as ES256": lambda: token(RSA, claims(), alg="ES256"),
    "another key of the same kid": lambda: token(OTHER, claims()),
    "kid of another key": lambda: token(RSA, claims(), kid="e1"),
    "unknown kid": lambda: token(RSA, claims(), kid="nobody"),
    "kid is a path": lambda: token(RSA, claims(), kid="../../dev/null"),
    "kid is a number": lambda: token(RSA, claims(), kid=1),
    "kid is a list": lambda: token(RSA, claims(), kid=["r1"]),
    "jku": lambda: token(OTHER, claims(), jku="http://127.0.0.1:1/jwks"),
    "its own jwk": lambda: token(OTHER, claims(), jwk=OTHER.jwk(), kid="mine"),
    "crit": lambda: token(RSA, claims(), crit=["exp"], exp=1),
    "b64 false": lambda: token(RSA, claims(), b64=False, crit=["b64"]),
    "another kind of token": lambda: token(RSA, claims(), typ="logout+jwt"),
    "typ is a list": lambda: token(RSA, claims(), typ=["JWT"]),
    "another issuer": lambda: token(RSA, claims(iss="https://evil.example")),
    "issuer with a slash": lambda: token(RSA, claims(iss=ISSUER + "/")),
    "issuer in a list": lambda: token(RSA, claims(iss=[ISSUER])),
    "no issuer": lambda: token(RSA, claims(iss=None)),
    "another audience": lambda: token(RSA, claims(aud="other")),
    "no audience": lambda: token(RSA, claims(aud=None)),
    "audiences without ours": lambda: token(RSA, claims(aud=["a", "b"])),
    "an audience that contains ours": lambda: token(RSA, claims(aud=AUDIENCE + "-2")),
    "audience is an object": lambda: token(RSA, claims(aud={AUDIENCE: 1})),
    "audiences not all text": lambda: token(RSA, claims(aud=[AUDIENCE, 1])),
    "no exp": lambda: token(RSA, claims(exp=None)),
    "exp is text": lambda: token(RSA, claims(exp=str(int(time.time()) + 300))),
    "exp is true": lambda: token(RSA, claims(exp=True)),
    "exp is infinite": lambda: token(
        RSA, json.dumps(claims()).replace(str(claims()["exp"]), "1e999").encode()
    ),
    "not yet": lambda: token(RSA, claims(nbf=int(time.time()) + 600)),
    "nbf is text": lambda: token(RSA, claims(nbf="0")),
    "issued in the future": lambda: token(RSA, claims(iat=int(time.time()) + 600)),
    "no subject": lambda: token(RSA, claims(sub=None)),
    "empty subject": lambda: token(RSA, claims(sub="")),
    "subject with a newline": lambda: token(RSA, claims(sub="alice\nrole: admin")),
    "a long subject": lambda: token(RSA, claims(sub="a" * 256)),
    "claims twice": lambda: token(
        RSA, b'{"iss":"%s","sub":"x",' % ISSUER.encode() + json.dumps(claims()).encode()[1:]
    ),
    "payload is a list": lambda: token(RSA, b"[]"),
    "payload is no JSON": lambda: token(RSA, b"\xff"),
    "nested too deeply": lambda: token(RSA, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "signature taken off": lambda: token(RSA, claims()).rsplit(".", 1)[0] + ".",
    "signature cut": lambda: token(RSA, claims())[:-4],
    "too long": lambda: token(RSA, claims(pad="x" * 20_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tokens(name: str) -> None:
    """All of them the same 401, whatever is wrong."""

    async def scenario(_: RunningIssuer, tokens: Tokens, __: Clock) -> None:
        with pytest.raises(KeyRefused) as caught:
            await tokens.bearer(HOSTILE[name]())
        assert (caught.value.status, caught.value.code) == (401, "invalid_token")
        assert caught.value.message == "The token is not valid here."

    served(scenario)


@given(position=st.integers(0, 600), bit=st.integers(0, 5))
def test_a_changed_character_makes_a_token_worthless(position: int, bit: int) -> None:
    """Header, payload and signature are covered; only unused bits of base64's last characters may differ."""
    text = token(ED, claims())
    position %= len(text)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if text[position] == ".":
        return
    changed = text[:position] + alphabet[alphabet.index(text[position]) ^ (1 << bit)] + text[position + 1 :]

    def raw(value: str) -> list[bytes]:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in value.split(".")]

    if raw(changed) == raw(text):
        return
    keys = json.dumps({"keys": [ED.jwk()]}).encode()
    tokens = checker(configured("", jwks_url=None, jwks_file="k"), k=keys)
    assert asyncio.run(refused(tokens, changed)) in {"invalid_token"}


@pytest.mark.parametrize(("exp", "code"), [(-29, None), (-31, "expired_token"), (-(10**9), "expired_token")])
def test_an_expired_token_says_so_once_the_skew_is_over(exp: int, code: str | None) -> None:
    """The one thing a caller is told, since it is what happens to honest ones."""

    async def scenario(_: RunningIssuer, tokens: Tokens, __: Clock) -> None:
        text = token(RSA, claims(exp=int(time.time()) + exp))
        if code is None:
            assert (await tokens.bearer(text)).role is Role.ADMIN
        else:
            assert await refused(tokens, text) == code

    served(scenario)


def test_keys_are_asked_for_once_and_kept() -> None:
    """Many tokens, one question."""

    async def scenario(here: RunningIssuer, tokens: Tokens, _: Clock) -> None:
        texts = [token(RSA, claims(sub=f"u{number}")) for number in range(20)]
        await asyncio.gather(*(tokens.bearer(text) for text in texts))
        assert here.asked == 1

    served(scenario)


def test_a_new_key_is_found_when_a_token_names_it() -> None:
    """Rotation needs nobody here; the old key goes when the issuer takes it away."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        await tokens.bearer(token(RSA, claims()))
        new = SigningKey("r2")
        here.keys = [new]
        clock.now += COOLDOWN_S
        assert (await tokens.bearer(token(new, claims()))).role is Role.ADMIN
        assert await refused(tokens, token(RSA, claims())) == "invalid_token"
        assert here.asked == 2

    served(scenario)


def test_unknown_kids_do_not_hammer_the_issuer() -> None:
    """A flood of made-up kids is one question in each pause, and good tokens go on meanwhile."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        await tokens.bearer(token(RSA, claims()))
        forged = [token(OTHER, claims(), kid=f"k{number}") for number in range(50)]
        for expected in (1, 2):
            codes = await asyncio.gather(*(refused(tokens, text) for text in forged))
            assert set(codes) == {"invalid_token"}
            assert here.asked == expected
            assert (await tokens.bearer(token(RSA, claims()))).role is Role.ADMIN
            clock.now += COOLDOWN_S
        assert here.asked == 2

    served(scenario)


@pytest.mark.parametrize(("status", "body"), [(500, None), (200, b"{}"), (200, b"x" * 600_000), (302, None)])
def test_the_last_good_keys_stay_while_the_issuer_is_down(status: int, body: bytes | None) -> None:
    """Nobody waits for it; after a day without it they are too old, and that is a 503."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        await tokens.bearer(token(RSA, claims()))
        here.status, here.body = status, body
        clock.now += 3600
        assert (await tokens.bearer(token(RSA, claims()))).role is Role.ADMIN
        clock.now += MAX_STALE_S
        assert await refused(tokens, token(RSA, claims())) == "issuer_unavailable"
        here.status, here.body = 200, None
        clock.now += COOLDOWN_S
        assert (await tokens.bearer(token(RSA, claims()))).role is Role.ADMIN

    served(scenario)


def test_without_keys_it_is_our_fault() -> None:
    """503 with a hint, never 401; and the outage is not made worse by asking for every call."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        here.status = 503
        for _ in range(5):
            assert await refused(tokens, token(RSA, claims())) == "issuer_unavailable"
        assert here.asked == 1
        here.status = 200
        clock.now += COOLDOWN_S
        assert (await tokens.bearer(token(RSA, claims()))).role is Role.ADMIN

    served(scenario)


def test_a_renewal_is_not_waited_for() -> None:
    """Keys of middle age are used while the issuer is slow to answer."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        await tokens.bearer(token(RSA, claims()))
        here.gate.clear()
        clock.now += 3600
        assert (await asyncio.wait_for(tokens.bearer(token(RSA, claims())), 2)).role is Role.ADMIN
        here.gate.set()

    served(scenario)


def test_who_goes_away_waits_no_longer() -> None:
    """A call that is cancelled while the issuer is asked is over; the question goes on for the others."""

    async def scenario(here: RunningIssuer, tokens: Tokens, _: Clock) -> None:
        here.gate.clear()
        gone, stays = (asyncio.create_task(tokens.bearer(token(RSA, claims()))) for _ in range(2))
        while not here.asked:
            await asyncio.sleep(0.01)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(gone, 2)
        here.gate.set()
        assert (await stays).role is Role.ADMIN
        assert here.asked == 1

    served(scenario)


def test_an_issuer_behind_tls(tmp_path: Path) -> None:
    """Its certificate counts under the roots that are configured, and under no others."""
    now = datetime.now(UTC)
    root, stranger = make_root("ours", now), make_root("theirs", now)
    server = make_server(root, "issuer", now, host="localhost")
    (tmp_path / "cert.pem").write_bytes(server.certificate_pem)
    (tmp_path / "key.pem").write_bytes(server.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def scenario(url: str) -> None:
        config = configured(url, ca_file="ca.pem")
        good = checker(config, **{"ca.pem": root.certificate_pem})
        assert (await good.bearer(token(RSA, claims()))).role is Role.ADMIN
        wrong = checker(config, **{"ca.pem": stranger.certificate_pem})
        assert await refused(wrong, token(RSA, claims())) == "issuer_unavailable"

    with issuer(RSA, tls=context) as here:
        asyncio.run(scenario(here.url))


def test_keys_stay_when_only_the_grants_change() -> None:
    """A reload is no reason to ask again; another URL is."""

    async def scenario(here: RunningIssuer, tokens: Tokens, clock: Clock) -> None:
        await tokens.bearer(token(RSA, claims()))
        for changes, asked in (({"grants": GRANTS[1:]}, 1), ({"jwks_url": here.url + "?2"}, 2)):
            config = configured(here.url, **changes)
            tokens.use(issuers(config, {}, clock), 30)
            await tokens.bearer(token(RSA, claims(groups=["acme-people"])))
            assert here.asked == asked
        tokens.use({}, 30)
        assert tokens.token(f"Bearer {token(RSA, claims())}") is None

    served(scenario)


def test_keys_from_a_file() -> None:
    """For those whose gateway may not reach the issuer; a file without keys is a fault of the configuration."""
    config = configured("", jwks_url=None, jwks_file="keys.json")
    good = json.dumps({"keys": [EC.jwk()]}).encode()
    tokens = checker(config, **{"keys.json": good})
    assert asyncio.run(tokens.bearer(token(EC, claims()))).role is Role.ADMIN
    secret = json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}).encode()
    for bad in (b"", b"{}", secret):
        with pytest.raises(ConfigError) as caught:
            issuers(config, {"keys.json": bad}, Clock())
        assert caught.value.field == "oidc.issuers[0].jwks_file"


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_url": "http://login.example/jwks"},
        {"jwks_file": "also"},
        {"jwks_url": None},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"grants": []},
        {"grants": [{"claim": "a", "value": "b", "role": "tenant_admin"}]},
        {"grants": [{"claim": "a", "value": "b", "role": "admin", "tenant": "acme"}]},
        {"grants": [{"claim": "a", "value": "b", "role": "auditor", "tenant": "x", "tenant_claim": "y"}]},
    ],
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    """No weak algorithm, no keys over plain HTTP, no role without its bounds."""
    with pytest.raises(ValueError):
        configured("https://login.example/jwks", **changes)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer sk-admin-x", "Basic a.b.c", "Bearer a.b", "a.b.c", "Bearer a.b.c d"]
)
def test_what_is_no_token_is_left_to_the_keys(header: str | None) -> None:
    """A key never has two dots, a token never has none."""
    assert checker(configured("https://login.example/jwks")).token(header) is None


def test_a_token_opens_the_api_as_far_as_its_role_goes(tmp_path: Path) -> None:
    """The same answers as for a key of that role; the entry names subject and issuer; an unknown tenant is 403."""

    async def scenario(world: World) -> None:
        with issuer(RSA) as here:
            world.tokens.use(issuers(configured(here.url), {}, Clock()), 30)

            async def get(name: str, **changes: Any) -> Any:
                return await world.call(
                    "TenantService.GetTenant", key=token(RSA, claims(**changes)), name=f"tenants/{name}"
                )

            people = {"groups": ["acme-people"]}
            assert (await get("globex")).code is grpc.StatusCode.OK
            assert (await get("acme", **people)).code is grpc.StatusCode.OK
            assert (await get("globex", **people)).code is grpc.StatusCode.NOT_FOUND
            stray = {"groups": None, "https://x.example/role": "tenant-admin", "org": {"id": "gone"}}
            assert (await get("acme", **stray)).code is grpc.StatusCode.PERMISSION_DENIED
            assert (await get("acme", groups=[])).code is grpc.StatusCode.PERMISSION_DENIED
            assert (await get("acme", aud="x")).code is grpc.StatusCode.UNAUTHENTICATED
            made = await world.call(
                "TenantService.CreateTenant",
                key=token(RSA, claims()),
                tenant_id="initech",
                tenant={"policies": ["any"], "default_policy": "any"},
            )
            assert made.code is grpc.StatusCode.OK
            receipt = await world.log.receipt(int(made.message.etag), None, 20)
            statement = json.loads(base64.b64decode(receipt["bundle"]["dsseEnvelope"]["payload"]))
            assert statement["predicate"]["actor"] == {"subject": "alice", "issuer": ISSUER}

    run(tmp_path, scenario)
