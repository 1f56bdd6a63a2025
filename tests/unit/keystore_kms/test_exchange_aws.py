"""What a call to Bedrock is authorised with, by what is stored and what the provider's section says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from kms_world import CANARY, REGION, Clock, Script, around, missing, provider, refusal, run
from test_kms_aws_api import ROLE, STATIC, assumed, sts_error

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.base import Minted
from sovereign_ext.keystore.exchange.aws import AwsMinter
from sovereign_ext.keystore.exchange.registry import MINTERS, build_minter
from sovereign_ext.keystore.exchange.sts import instant_s
from sovereign_ext.keystore.http import Surroundings
from sovereign_ext.secret import Secret

KEYS = {"access_key_id": "AKIASTORED", "secret_access_key": CANARY}
STORED = Secret(json.dumps(KEYS))
EXPIRES = "2026-11-22T23:00:00Z"


def bedrock(**aws: Any) -> Any:
    return provider("bedrock", aws={"region": REGION, **aws})


async def mint(
    script: Script, stored: Secret | None, environ: dict[str, str] | None = None, **aws: Any
) -> Minted:
    minter = AwsMinter.from_surroundings(around({"HOME": "/nonexistent", **(environ or {})}, script, Clock()))
    try:
        return await minter.mint(bedrock(**aws), stored)
    finally:
        await minter.aclose()


NOBODY = Script(httpx.Response(500))


@pytest.mark.parametrize("token", [None, "t"])
def test_stored_keys_are_used_as_they_are(token: str | None) -> None:
    stored = Secret(json.dumps(KEYS if token is None else KEYS | {"session_token": token}))
    made = run(mint(NOBODY, stored))
    keys = made.credential
    assert isinstance(keys, AwsKeys)
    assert (keys.access_key_id, keys.secret_access_key) == ("AKIASTORED", Secret(CANARY))
    assert keys.session_token == (None if token is None else Secret(token))
    assert made.expires_s is None
    assert CANARY not in repr(made)


def test_plain_text_is_a_bedrock_api_key() -> None:
    made = run(mint(NOBODY, Secret("bedrock-api-key-abc")))
    assert made.credential == Secret("bedrock-api-key-abc")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"access_key_id": "A"}',
        '{"access_key_id": "", "secret_access_key": "x"}',
        '{"access_key_id": "A", "secret_access_key": 5}',
        '{"access_key_id": "A", "secret_access_key": "x", "sesion_token": "t"}',
        "{" + CANARY,
        '{"a":' * 50_000,
    ],
)
def test_a_stored_object_that_is_not_keys_is_damaged_and_not_shown(text: str) -> None:
    """A misspelt member as well: temporary keys without their token are refused by AWS with no reason given."""
    assert run(refusal(mint(NOBODY, Secret(text)))).reason == "damaged"


def test_a_role_is_assumed_with_stored_keys_in_its_region() -> None:
    script = Script(assumed(expires=EXPIRES))
    made = run(mint(script, STORED, role_arn=ROLE, external_id="acme & co", session_name="router@acme"))
    assert isinstance(made.credential, AwsKeys)
    assert made.credential.access_key_id == "ASIA1"
    assert made.credential.secret_access_key == Secret(CANARY + "/+=")
    assert made.expires_s == instant_s(EXPIRES)
    (request,) = script.requests
    assert str(request.url) == f"https://sts.{REGION}.amazonaws.com/"
    assert parse_qs(request.content.decode()) == {
        "Action": ["AssumeRole"],
        "Version": ["2011-06-15"],
        "RoleArn": [ROLE],
        "RoleSessionName": ["router@acme"],
        "DurationSeconds": ["3600"],
        "ExternalId": ["acme & co"],
    }
    assert "Credential=AKIASTORED/" in request.headers["authorization"]
    assert CANARY not in request.content.decode() + str(request.headers)


def test_a_role_takes_keys_and_no_api_key() -> None:
    assert run(refusal(mint(NOBODY, Secret("bedrock-api-key-abc"), role_arn=ROLE))).reason == "damaged"


def test_without_stored_keys_the_gateways_own_assume_the_role_or_are_used() -> None:
    script = Script(assumed())
    made = run(mint(script, None, STATIC, role_arn=ROLE))
    assert isinstance(made.credential, AwsKeys)
    assert "Credential=AKIDEXAMPLE/" in script.requests[0].headers["authorization"]
    made = run(mint(NOBODY, None, STATIC))
    assert isinstance(made.credential, AwsKeys)
    assert (made.credential.access_key_id, made.expires_s) == ("AKIDEXAMPLE", None)


@pytest.mark.parametrize("aws", [{}, {"role_arn": ROLE}])
def test_with_no_keys_at_all_it_is_said_what_is_missing(aws: dict[str, str]) -> None:
    assert "AWS_ACCESS_KEY_ID" in run(missing(mint(NOBODY, None, **aws)))


def test_a_web_identity_token_is_read_again_for_every_minting(tmp_path: Path) -> None:
    file = tmp_path / "token"
    script = Script(assumed(action="AssumeRoleWithWebIdentity"))

    async def scenario() -> None:
        minter = AwsMinter.from_surroundings(around({}, script))
        config = bedrock(role_arn=ROLE, web_identity_token_file=str(file))
        assert (await refusal(minter.mint(config, None))).reason == "unreachable"  # no such file yet
        for text in ("jwt-1", "jwt-2"):
            file.write_text(text)
            await minter.mint(config, None)

    run(scenario())
    forms = [parse_qs(request.content.decode()) for request in script.requests]
    assert [form["WebIdentityToken"] for form in forms] == [["jwt-1"], ["jwt-2"]]
    assert all("authorization" not in request.headers for request in script.requests)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sts_error(403, "AccessDenied"), "denied"),
        (sts_error(403, "ExpiredToken"), "denied"),
        (sts_error(400, "Throttling"), "throttled"),
        (sts_error(500, "InternalFailure"), "unreachable"),
        (httpx.Response(200, text="<html>"), "damaged"),
        (httpx.Response(200, text="x" * 300_000), "damaged"),
    ],
)
def test_what_a_failure_of_sts_means(answer: httpx.Response, reason: str) -> None:
    assert run(refusal(mint(Script(answer), STORED, role_arn=ROLE))).reason == reason


def test_own_temporary_keys_that_sts_refuses_are_made_anew_for_the_next_call(tmp_path: Path) -> None:
    """By IRSA: the first ones expired behind our back."""
    file = tmp_path / "token"
    file.write_text("jwt")
    later = "2100-01-01T00:00:00Z"
    environ = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}
    script = Script(
        assumed("ASIAOLD", expires=later), sts_error(403, "ExpiredToken"),
        assumed("ASIANEW", expires=later), assumed("ASIAROLE"),
    )  # fmt: skip

    async def scenario() -> None:
        minter = AwsMinter.from_surroundings(around(environ, script))
        assert (await refusal(minter.mint(bedrock(role_arn=ROLE), None))).reason == "denied"
        made = await minter.mint(bedrock(role_arn=ROLE), None)
        assert isinstance(made.credential, AwsKeys)
        assert made.credential.access_key_id == "ASIAROLE"

    run(scenario())
    assert "Credential=ASIANEW/" in script.requests[3].headers["authorization"]


def test_the_kinds_with_a_line_are_kinds_and_all_others_use_what_is_stored() -> None:
    """The contract of the registry."""
    for kind in ProviderKind:
        minter = build_minter(kind, Surroundings({}))
        assert (minter is not None) is (kind in MINTERS)
