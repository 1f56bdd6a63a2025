"""AWS's wire: where it is, what its errors mean, its XML, and the gateway's own keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kms_world import CANARY, REGION, Clock, Script, around, damaged_at_most, missing, outbound, refusal, run

from sovereign_ext.config.keystore_kms import AwsKms, AwsSecretsManager
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.exchange.aws_api import AwsApi, endpoint_of, xml_texts
from sovereign_ext.keystore.exchange.aws_platform import PlatformKeys
from sovereign_ext.keystore.exchange.sts import instant_s
from sovereign_ext.keystore.http import TRIES
from sovereign_ext.keystore.kms.aws import AwsKmsWrap, AwsSecretsManagerSource
from sovereign_ext.secret import Secret

STATIC = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": CANARY}
KEYS = AwsKeys("AKIDEXAMPLE", Secret(CANARY))
ROLE = "arn:aws:iam::123456789012:role/router"


def assumed(
    key_id: str = "ASIA1", *, expires: str = "2026-11-22T23:00:00Z", action: str = "AssumeRole"
) -> httpx.Response:
    """STS's answer, as its reference shows it."""
    return httpx.Response(
        200,
        text=f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
          <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/router/x</Arn></AssumedRoleUser>
          <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{CANARY}/+=</SecretAccessKey>
          <SessionToken>{CANARY}-token</SessionToken><Expiration>{expires}</Expiration></Credentials>
        </{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>""",
    )


def sts_error(status: int, code: str) -> httpx.Response:
    return httpx.Response(
        status,
        text=f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{CANARY}</Message></Error></ErrorResponse>",
    )


def json_error(status: int, code: str, *, header: bool = False) -> httpx.Response:
    if header:
        return httpx.Response(status, headers={"x-amzn-errortype": f"{code}:http://internal/"}, text=CANARY)
    return httpx.Response(status, json={"__type": f"com.amazonaws.kms#{code}", "message": CANARY})


def source(script: Script, environ: dict[str, str] | None = None, **more: Any) -> AwsSecretsManagerSource:
    config = AwsSecretsManager(kind="aws-secrets-manager", region=REGION, **more)
    return AwsSecretsManagerSource.from_config(config, around(STATIC if environ is None else environ, script))


def wrapping(script: Script) -> AwsKmsWrap:
    return AwsKmsWrap.from_config(
        AwsKms(kind="aws-kms", region=REGION, key="alias/x"), around(STATIC, script)
    )


# -- where -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "environ", "configured", "url"),
    [
        ("eu-central-1", {}, None, "https://secretsmanager.eu-central-1.amazonaws.com"),
        ("cn-north-1", {}, None, "https://secretsmanager.cn-north-1.amazonaws.com.cn"),
        ("eu-central-1", {"AWS_ENDPOINT_URL": "https://all/"}, None, "https://all"),
        (
            "eu-central-1",
            {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:1"},
            None,
            "http://127.0.0.1:1",
        ),
        ("eu-central-1", {"AWS_ENDPOINT_URL": "https://all"}, "https://mine", "https://mine"),
    ],
)
def test_the_endpoint_is_what_is_configured_then_the_environments_then_the_public_one(
    region: str, environ: dict[str, str], configured: str | None, url: str
) -> None:
    assert endpoint_of("secretsmanager", region, environ, configured) == url


def test_an_endpoint_of_the_environment_in_the_clear_is_refused() -> None:
    with pytest.raises(CredentialUnavailableError, match="neither https"):
        endpoint_of("kms", REGION, {"AWS_ENDPOINT_URL": "http://10.1.2.3"})


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "reason", "tries"),
    [
        (400, "AccessDeniedException", "denied", 1),
        (400, "InvalidRequestException", "denied", 1),  # marked for deletion
        (400, "DecryptionFailure", "damaged", 1),
        (400, "IncorrectKeyException", "damaged", 1),
        (400, "ThrottlingException", "throttled", TRIES),
        (429, "", "throttled", TRIES),
        (500, "InternalServiceError", "unreachable", TRIES),
        (503, "", "unreachable", TRIES),
        (400, "KMSInternalException", "unreachable", TRIES),
        (302, "", "denied", 1),
    ],
)
def test_what_an_error_of_secrets_manager_means(
    status: int, code: str, reason: str, tries: int, header: bool
) -> None:
    script = Script(json_error(status, code, header=header))
    error = run(refusal(source(script).find("acme", "east")))
    assert error.reason == reason
    assert len(script.requests) == tries
    assert code in str(error)


def test_a_code_that_is_no_word_is_not_told() -> None:
    """It comes from outside and goes to a log."""
    script = Script(httpx.Response(400, json={"__type": f"x#{CANARY}\nforged line"}))
    assert str(run(refusal(source(script).find("acme", "east")))) == "AWS Secrets Manager answered 400"


@pytest.mark.parametrize("code", ["ResourceNotFoundException"])
def test_a_secret_that_is_not_there_is_none(code: str) -> None:
    assert run(source(Script(json_error(400, code))).find("acme", "east")) is None


def test_what_was_throttled_twice_is_found_at_last() -> None:
    busy = json_error(400, "ThrottlingException")
    script = Script(busy, busy, httpx.Response(200, json={"SecretString": "sk-1"}))
    found = run(source(script).find("acme", "east"))
    assert found == Secret("sk-1")
    dates = {request.headers["x-amz-date"] for request in script.requests}
    assert len(script.requests) == 3
    assert all(dates)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"SecretString": 5}',
        b'{"SecretString": ""}',
        b'{"SecretString": "  "}',
        b'{"SecretBinary": "%%%"}',
        b'{"SecretBinary": "/w=="}',
        b'{"SecretString": "x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"SecretString": ' + b"[" * 100_000,
    ],
)
def test_an_answer_that_is_not_one_is_damaged(body: bytes) -> None:
    assert run(refusal(source(Script(httpx.Response(200, content=body))).find("a", "p"))).reason == "damaged"


@pytest.mark.services
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["SecretString", "SecretBinary", "Plaintext", "CiphertextBlob", "x"]), inner)
    ).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_answer_raises_anything_else(body: bytes) -> None:
    """Whatever a proxy in between answers with 200."""

    async def scenario() -> None:
        for asked in (
            source(Script(httpx.Response(200, content=body))).find("a", "p"),
            wrapping(Script(httpx.Response(200, content=body))).unwrap(b"x"),
            wrapping(Script(httpx.Response(200, content=body))).wrap(b"x"),
        ):
            await damaged_at_most(asked)

    run(scenario())


@pytest.mark.parametrize(
    ("stored", "field", "found"),
    [
        ("sk-1\n", None, "sk-1"),
        ('{"api_key": "sk-1", "owner": "x"}', "api_key", "sk-1"),
        ('{"access_key_id": "A"}', None, '{"access_key_id": "A"}'),
    ],
)
def test_what_is_stored_is_text_or_a_member_of_json(stored: str, field: str | None, found: str) -> None:
    script = Script(httpx.Response(200, json={"SecretString": stored}))
    assert run(source(script, field=field).find("acme", "east")) == Secret(found)


@pytest.mark.parametrize("stored", ["sk-1", '{"other": "x"}', '{"api_key": 5}', '{"api_key": ""}', "[]"])
def test_a_member_that_is_not_there_is_damaged(stored: str) -> None:
    """Never the whole object as a key: it would be sent to a provider."""
    script = Script(httpx.Response(200, json={"SecretString": stored}))
    assert run(refusal(source(script, field="api_key").find("acme", "east"))).reason == "damaged"


def test_names_are_built_from_ids_and_shared_has_its_own() -> None:
    script = Script(httpx.Response(200, json={"SecretString": "x"}))

    async def scenario() -> None:
        await source(script).find("acme", "east")
        await source(script).find("*", "east")

    run(scenario())
    asked = [json.loads(request.content)["SecretId"] for request in script.requests]
    assert asked == ["sovereign/acme/east", "sovereign/SHARED/east"]
    assert script.requests[0].headers["x-amz-target"] == "secretsmanager.GetSecretValue"
    assert str(script.requests[0].url) == f"https://secretsmanager.{REGION}.amazonaws.com/"


def test_kms_is_asked_with_key_and_context_and_says_so_if_the_key_is_missing() -> None:
    script = Script(json_error(400, "NotFoundException"))
    assert run(refusal(wrapping(script).unwrap(b"x"))).reason == "missing"
    asked = json.loads(script.requests[0].content)
    assert asked == {
        "KeyId": "alias/x",
        "EncryptionContext": {"purpose": "sovereign-router-keystore"},
        "CiphertextBlob": "eA==",
    }


@pytest.mark.parametrize("size", [0, 4_097])
def test_kms_wraps_what_it_takes(size: int) -> None:
    with pytest.raises(ValueError, match="KMS wraps"):
        run(wrapping(Script(httpx.Response(200))).wrap(bytes(size)))


# -- keys of its own ---------------------------------------------------------------------------------------------


def platform(
    script: Script, environ: dict[str, str], clock: Clock | None = None, **more: Any
) -> PlatformKeys:
    environ = {"HOME": "/nonexistent", **environ}
    return PlatformKeys.from_environment(around(environ, script, clock or Clock()), region=REGION, **more)


def test_keys_of_the_environment_come_first() -> None:
    environ = {
        **STATIC,
        "AWS_SESSION_TOKEN": "t",
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/none",
    }
    keys = run(platform(Script(httpx.Response(500)), environ).keys())
    assert (keys.access_key_id, keys.session_token) == ("AKIDEXAMPLE", Secret("t"))
    assert CANARY not in repr(keys)


def test_web_identity_is_read_again_for_every_renewal_and_sent_unsigned(tmp_path: Path) -> None:
    """Kubernetes replaces the token's file every hour."""
    file = tmp_path / "token"
    file.write_text("jwt-1\n")
    clock = Clock(instant_s("2026-11-22T22:00:00Z"))
    script = Script(assumed("ASIA1"), assumed("ASIA2", expires="2026-11-23T00:00:00Z"))
    own = platform(script, {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}, clock)

    async def scenario() -> None:
        assert (await own.keys()).access_key_id == "ASIA1"
        assert (await own.lasting()).expires_s == instant_s("2026-11-22T23:00:00Z")
        file.write_text("jwt-2\n")
        clock.now_s += 3_400
        assert (await own.keys()).access_key_id == "ASIA2"

    run(scenario())
    forms = [parse_qs(request.content.decode()) for request in script.requests]
    assert [form["WebIdentityToken"] for form in forms] == [["jwt-1"], ["jwt-2"]]
    assert forms[0]["Action"] == ["AssumeRoleWithWebIdentity"]
    assert "authorization" not in script.requests[0].headers


CREDENTIALS = f"""
[default]
aws_access_key_id = AKIDEFAULT
aws_secret_access_key = 100%{CANARY}
[other]
aws_access_key_id=AKIOTHER
aws_secret_access_key=x
aws_session_token=t
[half]
aws_access_key_id = {CANARY}
"""


@pytest.mark.parametrize(
    ("environ", "more", "found"),
    [
        ({}, {}, "AKIDEFAULT"),
        ({"AWS_PROFILE": "other"}, {}, "AKIOTHER"),
        ({"AWS_PROFILE": "default"}, {"profile": "other"}, "AKIOTHER"),
    ],
)
def test_the_shared_file_is_read_by_profile_and_again_each_time(
    tmp_path: Path, environ: dict[str, str], more: dict[str, str], found: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(CREDENTIALS)
    own = platform(Script(httpx.Response(500)), {"AWS_SHARED_CREDENTIALS_FILE": str(file), **environ}, **more)
    assert run(own.keys()).access_key_id == found
    file.write_text(CREDENTIALS.replace(found, "AKIROTATED"))
    assert run(own.keys()).access_key_id == "AKIROTATED"


def test_a_configured_file_comes_before_the_environment_and_the_home_directory_is_the_usual_place(
    tmp_path: Path,
) -> None:
    (tmp_path / ".aws").mkdir()
    file = tmp_path / ".aws" / "credentials"
    file.write_text(CREDENTIALS)
    script = Script(httpx.Response(500))
    assert run(platform(script, STATIC, credentials_file=str(file)).keys()).access_key_id == "AKIDEFAULT"
    assert run(platform(script, {"HOME": str(tmp_path)}).keys()).access_key_id == "AKIDEFAULT"


@pytest.mark.parametrize("text", [None, "", "no section " + CANARY, CREDENTIALS, "x" * 70_000, "ÿ"])
def test_a_file_without_those_keys_is_told_without_its_lines(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    own = platform(Script(httpx.Response(500)), {}, credentials_file=str(file), profile="half")
    assert str(file) in str(run(refusal(own.keys())))


def container_answer(key_id: str, expires: str = "2026-11-22T23:00:00Z") -> httpx.Response:
    body = {"AccessKeyId": key_id, "SecretAccessKey": CANARY, "Token": "t", "Expiration": expires}
    return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}, "http://169.254.170.2/v2/x"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1"}, "http://169.254.170.23/v1"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/v1"}, "http://127.0.0.1:9/v1"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[fd00:ec2::23]/v1"}, "http://[fd00:ec2::23]/v1"),
    ],
)
def test_a_container_asks_its_agent(tmp_path: Path, environ: dict[str, str], url: str) -> None:
    """ECS and EKS Pod Identity."""
    file = tmp_path / "token"
    file.write_text("agent-token\n")
    script = Script(container_answer("ASIAC"))
    environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(file)
    keys = run(platform(script, environ).keys())
    assert keys.access_key_id == "ASIAC"
    assert str(script.requests[0].url) == url
    assert script.requests[0].headers["authorization"] == "agent-token"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://169.254.169.254/", "http://evil.example/169.254.170.2"]
)
def test_a_container_endpoint_anywhere_else_is_refused(url: str) -> None:
    script = Script(container_answer("ASIAC"))
    own = platform(script, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url})
    assert run(refusal(own.keys())).reason == "denied"
    assert not script.requests


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(403), "denied"),
        (httpx.Response(500), "unreachable"),
        (httpx.Response(200, text="{}"), "damaged"),
        (container_answer("A", expires="soon"), "damaged"),
    ],
)
def test_what_an_agents_failure_means(answer: httpx.Response, reason: str) -> None:
    own = platform(Script(answer), {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"})
    assert run(refusal(own.keys())).reason == reason


def test_nothing_set_up_is_said_with_what_to_set() -> None:
    text = run(missing(platform(Script(httpx.Response(500)), {}).keys()))
    assert "AWS_ACCESS_KEY_ID" in text


def test_own_keys_that_expired_on_the_way_are_got_anew_once(tmp_path: Path) -> None:
    """The clock says that they hold, AWS says that they do not."""
    file = tmp_path / "token"
    file.write_text("jwt")
    found = httpx.Response(200, json={"SecretString": "sk"})
    expired = json_error(400, "ExpiredTokenException")
    environ = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}
    later = "2100-01-01T00:00:00Z"
    script = Script(assumed("ASIA1", expires=later), expired, assumed("ASIA2", expires=later), found)
    assert run(source(script, environ).find("acme", "east")) == Secret("sk")
    signed = [request.headers.get("authorization", "") for request in script.requests]
    assert ["ASIA1" in signed[1], "ASIA2" in signed[3]] == [True, True]
    script = Script(assumed("ASIA1", expires=later), expired, assumed("ASIA2", expires=later), expired)
    assert run(refusal(source(script, environ).find("acme", "east"))).reason == "denied"
    assert len(script.requests) == 4


def test_fixed_keys_that_are_refused_are_not_tried_twice() -> None:
    script = Script(json_error(400, "UnrecognizedClientException"))
    assert run(refusal(source(script).find("acme", "east"))).reason == "denied"
    assert len(script.requests) == 1


# -- XML ---------------------------------------------------------------------------------------------------------


def test_texts_are_found_by_local_name_and_the_first_counts() -> None:
    assert xml_texts(b'<a xmlns="u"><s:b xmlns:s="v"> x&amp;<![CDATA[<y>]]> </s:b><b>z</b><c/></a>') == {
        "b": "x&<y>"
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a>",
        b"<a></b>",
        b"plain",
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&e;</a>",
        b"<a>" * 17 + b"</a>" * 17,
        b'<?xml version="1.0" encoding="no-such"?><a>&#xffffff;</a>',
    ],
)
def test_xml_with_a_document_type_or_that_is_none_is_refused(body: bytes) -> None:
    """Entities are how XML eats memory and reads files."""
    assert xml_texts(body) is None


@given(st.binary(max_size=300) | st.text(alphabet="<>/!&;[]a \x00", max_size=60).map(str.encode))
def test_no_xml_raises(body: bytes) -> None:
    found = xml_texts(body)
    assert found is None or all(isinstance(text, str) for text in found.values())


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text=""),
        httpx.Response(200, text="<x/>"),
        httpx.Response(200, text="<!DOCTYPE x><x/>"),
        assumed(expires="soon"),
        assumed(expires=""),
        httpx.Response(200, text="<a><AccessKeyId>A</AccessKeyId></a>"),
    ],
)
def test_an_answer_of_sts_without_keys_is_damaged(tmp_path: Path, answer: httpx.Response) -> None:
    file = tmp_path / "token"
    file.write_text("jwt")
    own = platform(Script(answer), {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)})
    assert run(refusal(own.keys())).reason == "damaged"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sts_error(403, "AccessDenied"), "denied"),
        (sts_error(400, "ExpiredTokenException"), "denied"),
        (sts_error(400, "Throttling"), "throttled"),
        (sts_error(400, "IDPCommunicationError"), "unreachable"),
        (httpx.Response(503, text="<html>"), "unreachable"),
        (httpx.Response(404, text="not xml"), "denied"),
    ],
)
def test_what_an_error_of_sts_means(tmp_path: Path, answer: httpx.Response, reason: str) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    own = platform(Script(answer), {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)})
    assert run(refusal(own.keys())).reason == reason


def test_a_signature_is_made_with_the_date_of_its_try() -> None:
    """A pause between tries must not age it."""
    clock = Clock()

    def later(_: httpx.Request) -> httpx.Response:
        clock.now_s += 600
        return httpx.Response(500)

    script = Script(later, httpx.Response(200, json={}))
    way = outbound(script)
    api = AwsApi("kms", REGION, "https://kms.example", way, clock)
    run(way.ask(lambda: api.json("TrentService.Encrypt", {}, KEYS)))
    first, second = (request.headers["x-amz-date"] for request in script.requests)
    assert first != second
