"""Google access tokens: what is signed, where it is sent, and what is made of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import RSAKey
from kms_world import (
    CANARY,
    Clock,
    Script,
    ServiceAccountKey,
    around,
    damaged_at_most,
    outbound,
    provider,
    refusal,
    run,
)

from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.exchange.google import TOKEN_URL_VARIABLE, GoogleMinter
from sovereign_ext.keystore.exchange.google_token import GoogleTokens, read_service_account
from sovereign_ext.keystore.http import TRIES
from sovereign_ext.keystore.kms.crc32c import crc32c
from sovereign_ext.secret import Secret

ACCOUNT = ServiceAccountKey()
VERTEX = provider("vertex", google={"project": "acme", "location": "eu"})


def granted(**change: Any) -> httpx.Response:
    body = {"access_token": "ya29." + CANARY, "expires_in": 3599, "token_type": "Bearer", **change}
    return httpx.Response(200, json={name: value for name, value in body.items() if value is not None})


async def token(
    script: Script, text: str = ACCOUNT.text, url: str | None = None, clock: Clock | None = None
) -> Any:
    tokens = GoogleTokens(outbound(script), {}, clock or Clock(), url)
    return await tokens.of_service_account(read_service_account(Secret(text)))


def changed(**change: Any) -> str:
    return json.dumps(
        {name: value for name, value in {**ACCOUNT.file, **change}.items() if value is not None}
    )


def test_the_assertion_is_signed_for_google_and_an_hour() -> None:
    """RFC 7523 with the claims that google-auth writes; joserfc verifies the signature."""
    script, clock = Script(granted()), Clock()
    made = run(token(script, clock=clock))
    assert made.expires_s == clock.now_s + 3_599
    assert CANARY not in repr(made)
    (request,) = script.requests
    assert str(request.url) == "https://oauth2.googleapis.com/token"
    form = parse_qs(request.content.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    signed = jws.deserialize_compact(
        form["assertion"][0], RSAKey.import_key(ACCOUNT.public), algorithms=["RS256"]
    )
    assert signed.protected == {"alg": "RS256", "typ": "JWT", "kid": ACCOUNT.key_id}
    assert json.loads(signed.payload or b"") == {
        "iss": ACCOUNT.email,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(clock.now_s),
        "exp": int(clock.now_s) + 3_600,
    }


def test_a_key_is_checked_once() -> None:
    """It stops everything else for 15 to 30 ms."""
    assert read_service_account(Secret(ACCOUNT.text)) is read_service_account(Secret(ACCOUNT.text))
    assert ACCOUNT.file["private_key"] not in repr(read_service_account(Secret(ACCOUNT.text)))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "https://oauth2.googleapis.com@evil.example/token",
        "https://oauth2.googleapis.com:8443/token",
        "http://oauth2.googleapis.com/token",
        "http://127.0.0.1/token",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_token_uri_that_is_not_googles_is_never_asked(url: str) -> None:
    """A tenant stores the file: its word must not send the gateway, or an assertion, anywhere."""
    script = Script(granted())
    assert run(refusal(token(script, changed(token_uri=url)))).reason == "damaged"
    assert not script.requests


def test_a_configured_token_url_replaces_the_files() -> None:
    script = Script(granted())
    run(token(script, changed(token_uri="https://evil.example"), "https://private.example/token"))
    assert script.requests[0].url.host == "private.example"


def ec_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{" + CANARY,
        '{"type": []}',
        "{" * 100_000,
        changed(type="authorized_user"),
        changed(type="external_account"),
        changed(private_key=None),
        changed(private_key=CANARY),
        changed(private_key=ACCOUNT.public),
        changed(private_key=ec_key()),
        changed(private_key=ServiceAccountKey(bits=1024).file["private_key"]),
        changed(client_email=5),
    ],
)
def test_a_stored_file_that_is_none_is_damaged_and_not_shown(text: str) -> None:
    script = Script(granted())
    minter = GoogleMinter.from_surroundings(around({}, script))
    assert run(refusal(minter.mint(VERTEX, Secret(text)))).reason == "damaged"
    assert not script.requests


@pytest.mark.parametrize(
    ("answer", "reason", "tries"),
    [
        (httpx.Response(400, json={"error": "invalid_grant", "error_description": CANARY}), "denied", 1),
        (httpx.Response(400, json={"error": CANARY}), "denied", 1),
        (httpx.Response(401, text=CANARY), "denied", 1),
        (httpx.Response(307, headers={"location": "https://evil.example"}), "denied", 1),
        (httpx.Response(429), "throttled", TRIES),
        (httpx.Response(500), "unreachable", TRIES),
        (granted(access_token=""), "damaged", 1),
        (granted(access_token=None), "damaged", 1),
        (granted(expires_in=0), "damaged", 1),
        (granted(expires_in="3599"), "damaged", 1),
        (granted(expires_in=None), "damaged", 1),
        (granted(token_type="mac"), "damaged", 1),
        (httpx.Response(200, text="<html>"), "damaged", 1),
    ],
)
def test_what_an_answer_of_the_token_service_means(answer: httpx.Response, reason: str, tries: int) -> None:
    script = Script(answer)
    assert run(refusal(token(script))).reason == reason
    assert len(script.requests) == tries


def test_a_token_that_claims_to_hold_for_ever_is_held_for_half_a_day() -> None:
    clock = Clock()
    assert run(token(Script(granted(expires_in=10**12)), clock=clock)).expires_s == clock.now_s + 43_200


@given(st.binary(max_size=200) | st.dictionaries(
    st.sampled_from(["access_token", "expires_in", "token_type"]),
    st.none() | st.integers() | st.floats() | st.text()).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_answer_raises_anything_else(body: bytes) -> None:
    async def scenario() -> None:
        tokens = GoogleTokens(outbound(Script(httpx.Response(200, content=body))), {}, Clock())
        await damaged_at_most(tokens.of_service_account(PARSED))

    run(scenario())


PARSED = read_service_account(Secret(ACCOUNT.text))


def test_the_metadata_server_is_asked_as_google_wants_and_has_to_say_that_it_is_one() -> None:
    flavored = granted()
    flavored.headers["metadata-flavor"] = "Google"
    script = Script(flavored, granted())
    minter = GoogleMinter.from_surroundings(around({}, script))

    async def scenario() -> None:
        made = await minter.mint(VERTEX, None)
        assert await minter.mint(VERTEX, None) == made  # kept
        assert len(script.requests) == 1

    run(scenario())
    assert str(script.requests[0].url) == (
        "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
    )
    assert script.requests[0].headers["metadata-flavor"] == "Google"
    other = GoogleMinter.from_surroundings(around({}, Script(granted())))
    assert run(refusal(other.mint(VERTEX, None))).reason == "damaged"


def test_the_environments_key_file_comes_before_the_metadata_server(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(ACCOUNT.text)
    script = Script(granted())
    minter = GoogleMinter.from_surroundings(around({"GOOGLE_APPLICATION_CREDENTIALS": str(file)}, script))
    run(minter.mint(VERTEX, None))
    assert str(script.requests[0].url) == "https://oauth2.googleapis.com/token"


def test_plain_text_is_a_ready_token() -> None:
    script = Script(granted())
    minter = GoogleMinter.from_surroundings(around({}, script))
    made = run(minter.mint(VERTEX, Secret("ya29.ready")))
    assert (made.credential, made.expires_s) == (Secret("ya29.ready"), None)
    assert not script.requests


def test_a_token_url_in_the_clear_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=TOKEN_URL_VARIABLE):
        GoogleMinter.from_surroundings(around({TOKEN_URL_VARIABLE: "http://tokens.example"}))


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_rfc_3720(data: bytes, checksum: int) -> None:
    """Appendix B.4, and the check value that every catalogue has."""
    assert crc32c(data) == checksum
