"""Google's back ends against the stand-in ``judges/google_cloud.py``, which google-auth and PyJWT make strict."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kms_world import (
    CANARY,
    JUDGES,
    Google,
    ServiceAccountKey,
    around,
    google_cloud,
    judges_python,
    provider,
    refusal,
    run,
)

from sovereign_ext.config.keystore_kms import GcpKms, GcpSecretManager
from sovereign_ext.keystore.base import Minted
from sovereign_ext.keystore.exchange.google import TOKEN_URL_VARIABLE, GoogleMinter
from sovereign_ext.keystore.kms.gcp import GcpKmsWrap, GcpSecretManagerSource
from sovereign_ext.secret import Secret

pytestmark = pytest.mark.services

KEY = "projects/acme/locations/eu/keyRings/r/cryptoKeys/"
ACCOUNT = ServiceAccountKey()


@pytest.fixture
def cloud() -> Iterator[Google]:
    with google_cloud() as running:
        running.register(ACCOUNT)
        yield running


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "account.json"
    file.write_text(ACCOUNT.text)
    return str(file)


def source(
    cloud: Google, key_file: str | None, environ: dict[str, str] | None = None, **more: Any
) -> GcpSecretManagerSource:
    config = GcpSecretManager(
        kind="gcp-secret-manager", project="acme", endpoint=cloud.url, credentials_file=key_file,
        token_url=f"{cloud.url}/token" if key_file else None, **more,
    )  # fmt: skip
    return GcpSecretManagerSource.from_config(config, around(environ or {}))


def wrapping(cloud: Google, key_file: str, key: str = "k", **more: Any) -> GcpKmsWrap:
    config = GcpKms(
        kind="gcp-kms", key=KEY + key, endpoint=cloud.url, credentials_file=key_file,
        token_url=f"{cloud.url}/token", **more,
    )  # fmt: skip
    return GcpKmsWrap.from_config(config, around({}))


def put(cloud: Google, name: str, text: str, **more: str) -> None:
    cloud.control(secret={"project": "acme", "name": name, "text": text, **more})


def grants(cloud: Google) -> int:
    return sum(one["path"] == "/token" for one in cloud.control())


def test_google_auth_is_served_by_the_stand_in_and_writes_the_same_assertion(
    cloud: Google, key_file: str
) -> None:
    """So the stand-in is not strict in ways that only suit us."""
    script = JUDGES / "google_auth.py"
    done = subprocess.run(
        [judges_python(), script, key_file, f"{cloud.url}/token"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert theirs["token"] > 20
    assert theirs["header"] == {"alg": "RS256", "typ": "JWT", "kid": ACCOUNT.key_id}
    assert set(theirs["claims"]) == {"iss", "scope", "aud", "iat", "exp"}
    assert theirs["claims"]["aud"] == "https://oauth2.googleapis.com/token"


def test_a_secret_is_found_missing_rotated_and_disabled(cloud: Google, key_file: str) -> None:
    name = "sovereign_TENANT_acme_PROVIDER_east"

    async def scenario() -> None:
        own = source(cloud, key_file)
        assert await own.find("acme", "east") is None
        put(cloud, name, "one\n")
        assert await own.find("acme", "east") == Secret("one")
        put(cloud, name, "twö")
        assert await own.find("acme", "east") == Secret("twö")
        assert await own.find("other", "east") is None
        assert await own.find("*", "east") is None
        put(cloud, name, "three", state="DISABLED")
        assert (await refusal(own.find("acme", "east"))).reason == "denied"

    run(scenario())
    assert grants(cloud) == 1


def test_names_have_no_dots_and_a_member_of_json_is_taken(cloud: Google, key_file: str) -> None:
    put(cloud, "sovereign_TENANT_SHARED_PROVIDER_aDOTb-c", json.dumps({"api_key": "sk", "x": CANARY}))
    assert run(source(cloud, key_file, field="api_key").find("*", "a.b-c")) == Secret("sk")
    assert run(refusal(source(cloud, key_file, field="none").find("*", "a.b-c"))).reason == "damaged"


def test_a_checksum_that_does_not_fit_is_tried_again_and_then_damaged(cloud: Google, key_file: str) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", CANARY)
    cloud.control(corrupt=True)
    assert run(refusal(source(cloud, key_file).find("acme", "east"))).reason == "damaged"
    assert run(refusal(wrapping(cloud, key_file).wrap(b"m"))).reason == "damaged"


def test_a_token_that_expired_on_the_way_is_got_anew_once(cloud: Google, key_file: str) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", "sk")

    async def scenario() -> None:
        own = source(cloud, key_file)
        assert await own.find("acme", "east") == Secret("sk")
        cloud.control(withdraw=True)
        assert await own.find("acme", "east") == Secret("sk")
        cloud.control(
            faults=[[401, {}, "{}"], [200, {}, '{"access_token":"x","expires_in":9,"token_type":"Bearer"}']]
        )
        assert (
            await refusal(own.find("acme", "east"))
        ).reason == "denied"  # the fresh one is refused as well

    run(scenario())
    assert grants(cloud) == 3


def test_a_short_lived_token_is_renewed_before_it_ends(cloud: Google, key_file: str) -> None:
    """Made anew in the last quarter of its life, by the clock alone and not by a refusal."""
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", "sk")
    ahead_s = [0.0]  # the stand-in's clock is the real one

    async def scenario() -> None:
        config = source(cloud, key_file)._config
        own = GcpSecretManagerSource.from_config(config, around({}, clock=lambda: time.time() + ahead_s[0]))
        await own.find("acme", "east")
        ahead_s[0] = 3_300
        await own.find("acme", "east")
        assert grants(cloud) == 1
        ahead_s[0] = 3_400
        # The assertion is from the future now, which is refused; the old token still serves.
        assert await own.find("acme", "east") == Secret("sk")
        assert grants(cloud) == 2

    run(scenario())


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"deny": True}, "denied"),
        ({"faults": [[429, {}, "{}"]] * 9}, "throttled"),
        ({"faults": [[503, {}, "<html>"]] * 9}, "unreachable"),
        ({"faults": [[302, {"location": "http://127.0.0.1:1/"}, ""]]}, "denied"),
        ({"faults": [[200, {}, "[]"]]}, "damaged"),
        ({"faults": [[200, {}, '{"payload": {"data": "c2s="}}']] * 9}, "damaged"),  # without its checksum
        ({"faults": [[200, {}, '{"payload": {"data": "%", "dataCrc32c": "0"}}']]}, "damaged"),
        ({"faults": [[200, {}, "x" * 300_000]]}, "damaged"),
    ],
)
def test_what_a_failure_of_secret_manager_means(
    cloud: Google, key_file: str, order: dict[str, Any], reason: str
) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", CANARY)

    async def scenario() -> str:
        own = source(cloud, key_file)
        await own.find("acme", "other")  # a token is there
        cloud.control(**order)
        return (await refusal(own.find("acme", "east"))).reason

    assert run(scenario()) == reason


def test_a_throttled_question_is_answered_at_last(cloud: Google, key_file: str) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", "sk")

    async def scenario() -> Secret | None:
        own = source(cloud, key_file)
        cloud.control(faults=[[429, {"retry-after": "1"}, "{}"], [500, {}, ""]])
        return await own.find("acme", "east")

    assert run(scenario()) == Secret("sk")


def test_a_withdrawn_or_forged_key_of_the_account_is_denied(cloud: Google, tmp_path: Path) -> None:
    forged = ServiceAccountKey()
    file = tmp_path / "forged.json"
    file.write_text(forged.text)
    error = run(refusal(source(cloud, str(file)).find("acme", "east")))
    assert (error.reason, "invalid_grant" in str(error)) == ("denied", True)


def test_a_key_file_is_read_again_for_the_next_token(cloud: Google, key_file: str) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", "sk")
    fresh = ServiceAccountKey("next@acme.iam.gserviceaccount.com")
    cloud.register(fresh)

    async def scenario() -> None:
        own = source(cloud, key_file)
        await own.find("acme", "east")
        Path(key_file).write_text(fresh.text)
        cloud.control(withdraw=True)
        assert await own.find("acme", "east") == Secret("sk")

    run(scenario())


def test_without_a_key_file_the_metadata_server_is_asked(cloud: Google) -> None:
    put(cloud, "sovereign_TENANT_acme_PROVIDER_east", "sk")
    own = source(cloud, None, {"GCE_METADATA_HOST": cloud.host})
    assert run(own.find("acme", "east")) == Secret("sk")
    assert grants(cloud) == 0


# -- Cloud KMS ---------------------------------------------------------------------------------------------------


def test_cloud_kms_unwraps_what_it_wrapped_and_nothing_else(cloud: Google, key_file: str) -> None:
    master = bytes(range(32))

    async def scenario() -> None:
        kms = wrapping(cloud, key_file)
        wrapped = await kms.wrap(master)
        assert master not in wrapped
        assert await kms.unwrap(wrapped) == master
        for other in (wrapping(cloud, key_file, "other"), wrapping(cloud, key_file, context="another")):
            assert (await refusal(other.unwrap(wrapped))).reason == "damaged"
        assert (await refusal(kms.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1])))).reason == "damaged"
        assert (await refusal(kms.unwrap(b"x"))).reason == "damaged"
        assert (await refusal(wrapping(cloud, key_file, "absent").wrap(master))).reason == "missing"
        cloud.control(faults=[[200, {}, '{"ciphertext":"eA==","ciphertextCrc32c":"1"}']])
        assert (await refusal(kms.wrap(master))).reason == "damaged"  # Google did not verify what it got

    run(scenario())


@pytest.mark.parametrize("size", [0, 65_537])
def test_cloud_kms_wraps_what_it_takes(cloud: Google, key_file: str, size: int) -> None:
    with pytest.raises(ValueError, match="Cloud KMS wraps"):
        run(wrapping(cloud, key_file).wrap(bytes(size)))


# -- tokens for calls --------------------------------------------------------------------------------------------


def vertex() -> Any:
    return provider("vertex", google={"project": "acme", "location": "eu"})


def minted(cloud: Google, stored: Secret | None) -> Minted:
    environ = {TOKEN_URL_VARIABLE: f"{cloud.url}/token", "GCE_METADATA_HOST": cloud.host}
    minter = GoogleMinter.from_surroundings(around(environ))
    return run(minter.mint(vertex(), stored))


def test_a_stored_service_account_gives_a_token_for_an_hour(cloud: Google) -> None:
    made = minted(cloud, Secret(ACCOUNT.text))
    assert isinstance(made.credential, Secret)
    assert made.credential.reveal().startswith("ya29.")
    assert made.expires_s is not None
    assert abs(made.expires_s - time.time() - 3_600) < 60
    assert "ya29" not in repr(made)


def test_without_a_stored_one_the_metadata_server_is_asked(cloud: Google) -> None:
    made = minted(cloud, None)
    assert isinstance(made.credential, Secret)
    assert grants(cloud) == 0
