"""The signer of AWS requests: the published vectors, and botocore as judge of everything else."""

from __future__ import annotations

import base64
import timeit
from collections.abc import Iterator

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext import sigv4
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.secret import Secret
from sovereign_ext.sigv4 import sign

EXAMPLE = AwsKeys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
EXAMPLE_S = 1_440_938_160.0  # 2015-08-30T12:36:00Z
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture(scope="module")
def aws() -> Iterator[judging.Aws]:
    with judging.aws() as judge:
        yield judge


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        ("GET", "/", "", [], b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "", [], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST", "/", "", [FORM], b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "GET", "/", "Param2=value2&Param1=value1", [], b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET", "/./example", "", [], b"",
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        ),
        (
            "GET", "/example space/", "", [], b"",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
    ],
    ids=["vanilla", "post", "form", "query-order", "dot-segment", "space"],
)  # fmt: skip
def test_published_vectors(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes, signature: str
) -> None:
    """AWS's Signature Version 4 test suite: its keys, its moment, its signatures."""
    added = sign(
        method, "example.amazonaws.com", path, query, headers, body, EXAMPLE,
        region="us-east-1", service="service", now_s=EXAMPLE_S,
    )  # fmt: skip
    assert dict(added)["x-amz-date"] == "20150830T123600Z"
    assert dict(added)["authorization"].endswith(f"Signature={signature}")


SEGMENT = st.text("abcXYZ019-._~!$&'()*+,;=:@", max_size=8) | st.sampled_from(
    ["anthropic.claude-3-5-sonnet-20241022-v2%3A0", "arn%3Aaws%3Abedrock%2Fx", "%E5%8C%97", ".", "..", ""]
)
PATH = st.lists(SEGMENT, max_size=5).map(lambda segments: "/" + "/".join(segments))
QUERY = st.lists(
    st.text("abAB019-._~", min_size=1, max_size=5).flatmap(
        lambda name: st.sampled_from([name, f"{name}=", f"{name}=1", f"{name}=%2F", f"{name}=a=b"])
    ),
    max_size=4,
).map("&".join)
NAME = st.sampled_from(["content-type", "Content-Type", "x-amz-target", "X-Amz-Meta-a", "x-amz-zone"])
VALUE = st.text(
    st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from(" \t"), min_size=1, max_size=20
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=PATH,
    query=QUERY,
    headers=st.lists(st.tuples(NAME, VALUE), max_size=4),
    body=st.binary(max_size=200),
    token=st.none() | st.text("abc+/=", min_size=1, max_size=50),
    now_s=st.floats(0, 4_000_000_000),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
    service=st.sampled_from(["bedrock", "sts", "kms", "secretsmanager"]),
)
def test_botocore_signs_alike(
    aws: judging.Aws,
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    body: bytes,
    token: str | None,
    now_s: float,
    region: str,
    service: str,
) -> None:
    """Any path (encoded ``:`` and ``/``, dots, doubled slashes), query, header and body, with and without a token."""
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    keys = AwsKeys("AKIA0", Secret("secret+/="), Secret(token) if token is not None else None)
    added = dict(
        sign(method, host, path, query, headers, body, keys, region=region, service=service, now_s=now_s)
    )
    judged = aws.ask(
        "signature",
        method=method,
        url=f"https://{host}{path}" + (f"?{query}" if query else ""),
        headers=[["host", host], *headers],
        body=base64.b64encode(body).decode(),
        keys=["AKIA0", "secret+/=", token],
        region=region,
        service=service,
        now_s=now_s,
    )
    assert added == {name: judged[name] for name in added}
    assert ("x-amz-security-token" in added) == (token is not None)


def test_signed_headers() -> None:
    """What proxies may change is not signed; the target of a JSON 1.1 service is."""
    headers = [
        ("accept", "a"), ("user-agent", "u"), ("accept-encoding", "identity"),
        ("content-type", "application/json"), ("x-amz-target", "TrentService.Decrypt"),
    ]  # fmt: skip
    keys = AwsKeys("AKIA0", Secret("s"), Secret("t"))
    added = sign("POST", "h", "/", "", headers, b"", keys, region="r", service="kms", now_s=0)
    names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
    assert f"SignedHeaders={names}, " in dict(added)["authorization"]


def test_keys_are_not_mixed_up() -> None:
    """Every part that the derived key depends on gives another signature, whatever was signed before."""

    def signature(secret: str = "a", region: str = "r", service: str = "s", now_s: float = 0) -> str:
        keys = AwsKeys("AKIA0", Secret(secret))
        added = sign("POST", "h", "/", "", [], b"", keys, region=region, service=service, now_s=now_s)
        return dict(added)["authorization"].rpartition("=")[2]

    made = [signature(), signature(secret="b"), signature(region="x"), signature(service="x"),
            signature(now_s=86_400)]  # fmt: skip
    assert len(set(made)) == len(made)
    assert made[0] == signature()


def test_nothing_kept_shows_a_key() -> None:
    """The derived key is looked up by a ``Secret``; the cache is bounded and prints nothing of it."""
    for n in range(1000):
        keys = AwsKeys("AKIA0", Secret(f"secret-{n}"))
        sign("POST", "h", "/", "", [], b"", keys, region="r", service="s", now_s=0)
    info = sigv4._derived_key.cache_info()
    assert info.maxsize is not None
    assert info.currsize == info.maxsize
    assert "secret-" not in repr(sigv4._derived_key)


def test_cost() -> None:
    """A 2 KB body is signed within 30 µs; the best of many runs, because the machine is shared."""
    keys = AwsKeys("AKIA0", Secret("s" * 40), Secret("t" * 300))
    headers = [("content-type", "application/json"), ("accept", "application/json")]
    body = b"x" * 2048

    def run() -> None:
        sign(
            "POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/a%3A0/converse", "", headers, body, keys,
            region="us-east-1", service="bedrock", now_s=1_790_000_000.0,
        )  # fmt: skip

    assert min(timeit.repeat(run, number=200, repeat=30)) / 200 < 30e-6
