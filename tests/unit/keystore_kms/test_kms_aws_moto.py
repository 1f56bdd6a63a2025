"""AWS back ends against moto's server, set up by boto3; signatures by botocore's judgement and by moto's, which then
checks them and the policies of users."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import judging
import pytest
from kms_world import CANARY, REGION, Moto, Script, around, moto, provider, refusal, run

from sovereign_ext.config.keystore_kms import AwsKms, AwsSecretsManager
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.exchange.aws import AwsMinter
from sovereign_ext.keystore.exchange.aws_api import AwsApi
from sovereign_ext.keystore.exchange.sts import instant_s
from sovereign_ext.keystore.http import Outbound
from sovereign_ext.keystore.kms.aws import AwsKmsWrap, AwsSecretsManagerSource
from sovereign_ext.secret import Secret

pytestmark = pytest.mark.services

ROLE = "arn:aws:iam::123456789012:role/router"
LATER = 3_600


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def source(cloud: Moto, environ: dict[str, str] | None = None, **more: Any) -> AwsSecretsManagerSource:
    config = AwsSecretsManager(kind="aws-secrets-manager", region=REGION, **more)
    return AwsSecretsManagerSource.from_config(config, around(cloud.environ | (environ or {})))


def wrapping(cloud: Moto, key: str, **more: Any) -> AwsKmsWrap:
    return AwsKmsWrap.from_config(
        AwsKms(kind="aws-kms", region=REGION, key=key, **more), around(cloud.environ)
    )


async def found(source: AwsSecretsManagerSource, tenant: str, name: str) -> Secret | None:
    try:
        return await source.find(tenant, name)
    finally:
        await source.aclose()


def test_a_secret_is_found_missing_rotated_and_deleted(cloud: Moto) -> None:
    """The current version counts from the moment that it is."""
    assert run(found(source(cloud), "acme", "rotating")) is None
    cloud.boto("secretsmanager", "create_secret", Name="sovereign/acme/rotating", SecretString="one\n")
    assert run(found(source(cloud), "acme", "rotating")) == Secret("one")
    cloud.boto("secretsmanager", "put_secret_value", SecretId="sovereign/acme/rotating", SecretString="two")
    assert run(found(source(cloud), "acme", "rotating")) == Secret("two")
    assert run(found(source(cloud), "other", "rotating")) is None
    assert run(found(source(cloud), "*", "rotating")) is None
    cloud.boto("secretsmanager", "delete_secret", SecretId="sovereign/acme/rotating")
    assert run(refusal(found(source(cloud), "acme", "rotating"))).reason == "denied"  # can be restored yet
    cloud.boto(
        "secretsmanager", "delete_secret", SecretId="sovereign/acme/rotating", ForceDeleteWithoutRecovery=True
    )
    assert run(found(source(cloud), "acme", "rotating")) is None


def test_a_member_of_json_and_a_template_of_ones_own(cloud: Moto) -> None:
    cloud.boto("secretsmanager", "create_secret", Name="llm/east+of@acme", SecretString='{"api_key": "sk"}')
    own = source(cloud, template="llm/{provider}+of@{tenant}", field="api_key")
    assert run(found(own, "acme", "east")) == Secret("sk")


def test_kms_unwraps_what_it_wrapped_and_nothing_else(cloud: Moto) -> None:
    """Another key, another context, a bit more or less."""
    key, other = (cloud.boto("kms", "create_key")["KeyMetadata"]["KeyId"] for _ in range(2))
    cloud.boto("kms", "create_alias", AliasName="alias/router", TargetKeyId=key)
    master = bytes(range(32))

    async def scenario() -> None:
        kms = wrapping(cloud, "alias/router")
        wrapped = await kms.wrap(master)
        assert master not in wrapped
        assert await kms.unwrap(wrapped) == master
        assert await wrapping(cloud, key).unwrap(wrapped) == master
        strange = wrapping(cloud, key, context={"purpose": "another"})
        assert (await refusal(strange.unwrap(wrapped))).reason == "damaged"
        # KMS itself says IncorrectKeyException, which is damaged; moto says AccessDeniedException.
        assert (await refusal(wrapping(cloud, other).unwrap(wrapped))).reason == "denied"
        assert (await refusal(kms.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1])))).reason == "damaged"
        assert (await refusal(wrapping(cloud, "alias/none").wrap(master))).reason == "missing"
        assert (await refusal(wrapping(cloud, "alias/none").unwrap(wrapped))).reason == "missing"

    run(scenario())


def test_boto3_unwraps_what_we_wrapped(cloud: Moto) -> None:
    """The ciphertext is KMS's own, with nothing of ours around it."""
    key = cloud.boto("kms", "create_key")["KeyMetadata"]["KeyId"]
    context = {"purpose": "sovereign-router-keystore"}
    wrapped = run(wrapping(cloud, key).wrap(b"m" * 32))

    async def by_hand() -> dict[str, Any]:
        # boto3's blobs are bytes, which the line to it cannot carry: the request is written out.
        api = AwsApi("kms", REGION, cloud.url, Outbound("kms"))
        body = {"CiphertextBlob": base64.b64encode(wrapped).decode(), "EncryptionContext": context}
        answer = await api.json("TrentService.Decrypt", body, AwsKeys(Moto.ROOT[0], Secret(Moto.ROOT[1])))
        await api.outbound.aclose()
        told: dict[str, Any] = json.loads(answer.body)
        return told

    told = run(by_hand())
    assert base64.b64decode(told["Plaintext"]) == b"m" * 32
    assert told["KeyId"].endswith(key)


def user(cloud: Moto, name: str, *actions: str) -> dict[str, str]:
    """The environment of a user who may do these."""
    cloud.boto("iam", "create_user", UserName=name)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    cloud.boto("iam", "put_user_policy", UserName=name, PolicyName="p", PolicyDocument=policy)
    key = cloud.boto("iam", "create_access_key", UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def test_who_may_is_served_and_who_may_not_or_signs_wrongly_is_denied(cloud: Moto) -> None:
    """moto computes the signature anew with botocore and looks the policy up."""
    cloud.boto("secretsmanager", "create_secret", Name="sovereign/acme/guarded", SecretString=CANARY)
    may = user(cloud, "reader", "secretsmanager:GetSecretValue")
    may_not = user(cloud, "stranger", "s3:GetObject")
    forged = may | {"AWS_SECRET_ACCESS_KEY": CANARY}
    with cloud.guard():
        assert run(found(source(cloud, may), "acme", "guarded")) == Secret(CANARY)
        assert run(refusal(found(source(cloud, may_not), "acme", "guarded"))).reason == "denied"
        assert run(refusal(found(source(cloud, forged), "acme", "guarded"))).reason == "denied"


# -- roles -------------------------------------------------------------------------------------------------------


def bedrock(**aws: Any) -> Any:
    return provider("bedrock", aws={"region": REGION, **aws})


def test_stored_keys_assume_a_role_for_an_hour(cloud: Moto) -> None:
    """What comes back is temporary and signs; the session's name is in the role's identity."""
    role = cloud.boto(
        "iam", "create_role", RoleName="bedrock-caller", AssumeRolePolicyDocument='{"Statement": []}'
    )["Role"]["Arn"]
    stored = Secret(json.dumps({"access_key_id": Moto.ROOT[0], "secret_access_key": Moto.ROOT[1]}))
    config = bedrock(role_arn=role, external_id="acme-17", session_name="router@test")

    async def scenario() -> Any:
        minter = AwsMinter.from_surroundings(around({"AWS_ENDPOINT_URL": cloud.url}))
        try:
            return await minter.mint(config, stored)
        finally:
            await minter.aclose()

    minted = run(scenario())
    keys = minted.credential
    assert isinstance(keys, AwsKeys)
    assert keys.access_key_id.startswith("ASIA")
    assert keys.session_token is not None
    identity = cloud.boto(
        "sts", "get_caller_identity",
        keys=[keys.access_key_id, keys.secret_access_key.reveal(), keys.session_token.reveal()],
    )  # fmt: skip
    assert identity["Arn"].endswith("assumed-role/bedrock-caller/router@test")
    assert abs(minted.expires_s - (server_now(cloud) + LATER)) < 60


def server_now(cloud: Moto) -> float:
    """The server's clock."""
    return parsedate_to_datetime(httpx.get(cloud.url, trust_env=False).headers["date"]).timestamp()


def test_a_web_identity_token_assumes_a_role(cloud: Moto, tmp_path: Path) -> None:
    """For a call, and for the gateway's own keys (IRSA)."""
    file = tmp_path / "token"
    file.write_text("header.claims.signature\n")
    irsa = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL": cloud.url}

    async def scenario() -> None:
        minter = AwsMinter.from_surroundings(around({"AWS_ENDPOINT_URL": cloud.url}))
        minted = await minter.mint(bedrock(role_arn=ROLE, web_identity_token_file=str(file)), None)
        await minter.aclose()
        assert isinstance(minted.credential, AwsKeys)
        assert minted.expires_s is not None
        own = AwsMinter.from_surroundings(around(irsa))
        first = await own.mint(bedrock(), None)
        again = await own.mint(bedrock(), None)
        await own.aclose()
        assert first.credential is again.credential  # kept until it is about to expire
        assert first.expires_s is not None

    run(scenario())


# -- signatures --------------------------------------------------------------------------------------------------


def test_botocore_signs_our_requests_as_we_do() -> None:
    """Secrets Manager, KMS and STS, with temporary keys, byte for byte."""
    keys = {
        "AWS_ACCESS_KEY_ID": "ASIA1",
        "AWS_SECRET_ACCESS_KEY": "s/+=ecret",
        "AWS_SESSION_TOKEN": "t/+=oken",
    }
    found_one = httpx.Response(200, json={"SecretString": "x", "CiphertextBlob": "eA==", "Plaintext": "eA=="})
    script = Script(found_one)
    clock = instant_s("2026-11-22T22:00:00Z")
    world = around(keys, script, lambda: clock)
    xml = "<a><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey><SessionToken>C</SessionToken>"
    sts = Script(httpx.Response(200, text=f"{xml}<Expiration>2027-01-01T00:00:00Z</Expiration></a>"))
    sts_world = around(keys, sts, lambda: clock)

    async def scenario() -> None:
        secrets = AwsSecretsManager(kind="aws-secrets-manager", region=REGION)
        await AwsSecretsManagerSource.from_config(secrets, world).find("acme", "east")
        kms = AwsKmsWrap.from_config(AwsKms(kind="aws-kms", region=REGION, key="k"), world)
        await kms.unwrap(await kms.wrap(b"x"))
        await AwsMinter.from_surroundings(sts_world).mint(bedrock(role_arn=ROLE, external_id="a b&c"), None)

    run(scenario())
    requests = [*script.requests, *sts.requests]
    assert len(requests) == 4
    with judging.aws() as judge:
        for request in requests:
            service = request.url.host.partition(".")[0]
            signed = {"content-type", "x-amz-target"}
            theirs = judge.ask(
                "signature", method=request.method, url=str(request.url),
                headers=[[name, value] for name, value in request.headers.items() if name in signed],
                body=base64.b64encode(request.content).decode(), keys=list(keys.values()),
                region=REGION, service=service, now_s=clock,
            )  # fmt: skip
            assert request.headers["authorization"] == theirs["authorization"], service
            assert request.headers["x-amz-security-token"] == "t/+=oken"
