"""Synthetic credentials of the six families and of this gateway, made anew at each call; none ever opened anything.

``MAKERS`` gives well-formed secrets by kind, ``NEAR_MISSES`` texts that resemble them and are none. Some are found
only by what stands around them: ``SETTINGS`` gives texts before and after such a secret. The checksums are worked out
here once more, from the descriptions of the formats, so that an error of the detectors would show.
"""

from __future__ import annotations

import base64
import binascii
import random
import string
from collections.abc import Callable

Maker = Callable[[random.Random], bytes]
Setting = Callable[[random.Random], tuple[bytes, bytes]]

DIGITS = string.digits
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
URLSAFE = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
BASE32 = string.ascii_uppercase + "234567"
HEXADECIMAL = "0123456789abcdef"
MARKER = b"T3Blbk" + b"FJ"


def draw(rng: random.Random, alphabet: str, size: int) -> bytes:
    return "".join(rng.choices(alphabet, k=size)).encode()


def word(rng: random.Random, alphabet: str, size: int) -> bytes:
    """``size`` characters of which neither the first nor the last is a mark."""
    letters = "".join(set(alphabet) & set(BASE62))
    letters = "".join(sorted(letters))
    return draw(rng, letters, 1) + draw(rng, alphabet, size - 2) + draw(rng, letters, 1)


def number(rng: random.Random, size: int) -> bytes:
    return draw(rng, "123456789", 1) + draw(rng, DIGITS, size - 1)


def checksum(text: bytes) -> bytes:
    rest, digits = binascii.crc32(text), ""
    while rest:
        digits, rest = BASE62[rest % 62] + digits, rest // 62
    return digits.rjust(6, "0").encode()


def other_checksum(text: bytes) -> bytes:
    """A checksum that is wrong by one digit."""
    right = checksum(text)
    return right[:-1] + (b"a" if right[-1:] != b"a" else b"b")


def one_of(*makers: Maker) -> Maker:
    return lambda rng: rng.choice(makers)(rng)


# OpenAI


def openai_legacy(rng: random.Random) -> bytes:
    return b"sk-" + draw(rng, BASE62, 20) + MARKER + draw(rng, BASE62, 20)


def openai_unmarked(rng: random.Random) -> bytes:
    return b"sk-" + draw(rng, BASE62, 48)


def openai_named(rng: random.Random) -> bytes:
    return (
        b"sk-"
        + rng.choice((b"billing-", b"my-service-", b"ci2-"))
        + draw(rng, BASE62, 20)
        + MARKER
        + draw(rng, BASE62, 20)
    )


def openai_long(*prefixes: bytes, sides: tuple[int, ...] = (20, 58, 74)) -> Maker:
    def make(rng: random.Random) -> bytes:
        side = rng.choice(sides)
        alphabet = BASE62 if side == 20 else URLSAFE
        return rng.choice(prefixes) + word(rng, alphabet, side) + MARKER + word(rng, alphabet, side)

    return make


def openai_long_unmarked(rng: random.Random) -> bytes:
    return rng.choice((b"sk-proj-", b"sk-svcacct-")) + word(rng, URLSAFE, rng.choice((48, 124, 156)))


# Anthropic


def anthropic(*prefixes: bytes, tail: bytes = b"AA") -> Maker:
    return lambda rng: (
        rng.choice(prefixes) + word(rng, URLSAFE, 95 - len(tail)) + (tail or draw(rng, BASE62, 0))
    )


# AWS


def aws_key(rng: random.Random) -> bytes:
    return rng.choice((b"AKIA", b"ASIA", b"ABIA", b"ACCA")) + draw(rng, BASE32, 16)


def aws_secret(rng: random.Random) -> bytes:
    return draw(rng, BASE64, 40)


def aws_session(rng: random.Random) -> bytes:
    first = rng.choice(
        (
            b"\x21\x0a\x09origin_ec\x10",
            b"\x17\x0a\x06er/aws\x10",
            b"\x15\x0a\x06er/aws\x10",
            b"\x01\x0a\x03aws\x10",
        )
    )
    return base64.b64encode(first + b"\xff" * rng.choice((0, 8)) + rng.randbytes(rng.randrange(150, 900)))


def bedrock_long(rng: random.Random) -> bytes:
    user = b"BedrockAPIKey-" + draw(rng, string.ascii_lowercase + DIGITS, 4) + b"-at-" + number(rng, 12)
    return b"ABSK" + base64.b64encode(user + b":" + draw(rng, BASE64, 44))


def bedrock_short(rng: random.Random) -> bytes:
    url = b"bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
    url += (
        aws_key(rng)
        + b"%2F20260401%2Fus-east-1%2Fbedrock%2Faws4_request&X-Amz-Signature="
        + draw(rng, HEXADECIMAL, 64)
    )
    return b"bedrock-api-key-" + base64.b64encode(url + b"&Version=1")


def beside_id(rng: random.Random) -> tuple[bytes, bytes]:
    before, after = rng.choice(
        (
            (b"%s:", b""),
            (b"%s,", b"\n"),
            (b"id %s\nkey ", b"\n"),
            (b'Credentials("%s", "', b'")'),
            (b"s3://%s:", b"@bucket/path"),
            (b"The id is %s and what belongs to it " + b"is a little further on " * 8, b"."),
            (b"", b" is for %s"),
            (b"", b"\n%s\n"),
        )
    )
    key = aws_key(rng)
    return (before % key, after) if b"%s" in before else (before, after % key)


def behind_name(rng: random.Random) -> tuple[bytes, bytes]:
    return rng.choice(
        (
            (b"aws_secret_access_key = ", b"\n"),
            (b"AWS_SECRET_ACCESS_KEY=", b""),
            (b'export AWS_SECRET_ACCESS_KEY="', b'"'),
            (b"$env:AWS_SECRET_KEY='", b"'"),
            (b'"SecretAccessKey": "', b'",'),
            (b'{"secretKey":"', b'"}'),
            (b"<SecretAccessKey>", b"</SecretAccessKey>"),
            (b"- name: AWS_SECRET_ACCESS_KEY\n  value: ", b"\n"),
            (b"session = boto3.Session(aws_secret_access_key='", b"')"),
            (b'os.environ.get("AWS_SECRET_ACCESS_KEY", "', b'")'),
            (b"aws configure set aws_secret_access_key ", b" --profile x"),
            (b"--aws-secret-key ", b" "),
            (b"fs.s3a.secret.key=", b"\n"),
            (b"awsSecretAccessKey: ", b"\n"),
            (b"The secret access key is ", b", keep it safe"),
            (b"secret_key  => '", b"'"),
        )
    )


# GitHub


def github(*prefixes: bytes, size: int = 30, seal: Callable[[bytes], bytes] = checksum) -> Maker:
    def make(rng: random.Random) -> bytes:
        body = draw(rng, BASE62, size)
        return rng.choice(prefixes) + body + seal(body)

    return make


def github_stateless(rng: random.Random) -> bytes:
    parts = (
        b'{"alg":"RS256","typ":"JWT"}',
        b'{"iss":"%s","sub":"installation","jti":"%s"}' % (number(rng, 7), draw(rng, BASE62, 80)),
    )
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts]
    return b"ghs_" + number(rng, 7) + b"_" + b".".join((*encoded, word(rng, URLSAFE, 342)))


def github_fine_grained(rng: random.Random) -> bytes:
    return b"github_pat_" + draw(rng, BASE62, 22) + b"_" + draw(rng, BASE62, 59)


# Slack


def slack_bot(rng: random.Random) -> bytes:
    return (
        b"xoxb-"
        + number(rng, rng.randrange(10, 14))
        + b"-"
        + number(rng, rng.randrange(10, 14))
        + b"-"
        + draw(rng, BASE62, 24)
    )


def slack_legacy_bot(rng: random.Random) -> bytes:
    return b"xoxb-" + number(rng, rng.randrange(10, 13)) + b"-" + draw(rng, BASE62, 24)


def slack_three(rng: random.Random) -> bytes:
    kind, size = rng.choice(
        ((b"xoxp-", 32), (b"xoxa-2-", 32), (b"xoxr-", 32), (b"xoxs-", 10), (b"xoxc-", 64), (b"xoxe-", 32))
    )
    numbers = b"-".join(number(rng, rng.randrange(10, 14)) for _ in range(3))
    return kind + numbers + b"-" + draw(rng, HEXADECIMAL, size)


def slack_rotated(rng: random.Random) -> bytes:
    prefix, first = rng.choice(
        ((b"xoxe.xoxp-1-", b"2-2-"), (b"xoxe.xoxb-1-", b"2-2-"), (b"xoxe-1-", b"3-1-"))
    )
    inner = first + b"-".join(number(rng, 13) for _ in range(3)) + b"-" + draw(rng, HEXADECIMAL, 64)
    return prefix + base64.b64encode(inner).rstrip(b"=")


def slack_cookie(rng: random.Random) -> bytes:
    return b"xoxd-" + base64.b64encode(rng.randbytes(rng.randrange(90, 130)))


def slack_app(rng: random.Random) -> bytes:
    app = b"A" + draw(rng, string.ascii_uppercase + DIGITS, 10)
    return b"xapp-1-" + app + b"-" + number(rng, 13) + b"-" + draw(rng, HEXADECIMAL, 64)


def in_webhook(rng: random.Random) -> tuple[bytes, bytes]:
    upper = string.ascii_uppercase + DIGITS
    team = b"T" + draw(rng, upper, rng.choice((8, 10)))
    path = rng.choice(
        (
            b"services/%s/B%s/" % (team, draw(rng, upper, rng.choice((8, 10)))),
            b"workflows/%s/A%s/%s/" % (team, draw(rng, upper, 10), number(rng, 18)),
            b"triggers/%s/%s/" % (team, number(rng, 13)),
        )
    )
    return b"https://hooks.slack.com/" + path, b""


# Stripe


def stripe(*prefixes: bytes) -> Maker:
    def make(rng: random.Random) -> bytes:
        return rng.choice(prefixes) + rng.choice((draw(rng, BASE62, 24), b"51" + draw(rng, BASE62, 97)))

    return make


def stripe_webhook(rng: random.Random) -> bytes:
    body = rng.choice(
        (draw(rng, BASE62, 32), draw(rng, HEXADECIMAL, 64), base64.b64encode(rng.randbytes(32)))
    )
    return b"whsec_" + body


# This gateway


def router(prefix: bytes, seal: Callable[[bytes], bytes] = checksum) -> Maker:
    def make(rng: random.Random) -> bytes:
        body = prefix + draw(rng, BASE62, 43)
        return body + seal(body)

    return make


MAKERS: dict[str, Maker] = {
    "router-key": router(b"sk-router-"),
    "router-admin-key": router(b"sk-admin-"),
    "openai-admin-key": openai_long(b"sk-admin-", sides=(58, 74)),
    "openai-api-key": one_of(
        openai_legacy,
        openai_unmarked,
        openai_named,
        openai_long(b"sk-proj-", b"sk-svcacct-", b"sk-None-"),
        openai_long_unmarked,
    ),
    "anthropic-api-key": anthropic(b"sk-ant-api03-"),
    "anthropic-admin-key": anthropic(b"sk-ant-admin01-"),
    "anthropic-token": one_of(
        anthropic(b"sk-ant-oat01-", b"sk-ant-ort01-", b"sk-ant-sid01-"),
        anthropic(b"sk-ant-oat01-", b"sk-ant-ort01-", b"sk-ant-sid02-", tail=b""),
    ),
    "aws-access-key": aws_key,
    "aws-secret-key": aws_secret,
    "aws-session-token": aws_session,
    "aws-bedrock-key": one_of(bedrock_long, bedrock_short),
    "github-token": one_of(
        github(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), github(b"ghr_", size=70), github_stateless
    ),
    "github-fine-grained-token": github_fine_grained,
    "slack-token": one_of(slack_bot, slack_legacy_bot, slack_three, slack_rotated, slack_cookie),
    "slack-app-token": slack_app,
    "slack-webhook": lambda rng: draw(rng, BASE62, 24),
    "stripe-secret-key": stripe(b"sk_live_", b"sk_test_", b"sk_org_live_", b"sk_org_"),
    "stripe-restricted-key": stripe(b"rk_live_", b"rk_test_"),
    "stripe-webhook-secret": stripe_webhook,
}

SETTINGS: dict[str, list[Setting]] = {
    "aws-secret-key": [beside_id, behind_name],
    "slack-webhook": [in_webhook],
}


def fixed(*texts: bytes) -> Maker:
    return lambda rng: rng.choice(texts)


def glued(maker: Maker, alphabet: str = BASE62) -> Maker:
    """The secret as the end of a longer word."""
    return lambda rng: draw(rng, alphabet, 3) + maker(rng)


def repeated(prefix: bytes, size: int) -> Maker:
    return lambda rng: prefix + rng.choice(BASE62).encode() * size


def cut(maker: Maker, most: int) -> Maker:
    """The first ``most`` characters of the secret."""
    return lambda rng: maker(rng)[:most]


def prose(prefix: bytes, size: int, separator: bytes = b"-") -> Maker:
    """As long as a secret, and made of words."""
    words = b"this is where the secret of your service would stand if anyone wrote one in here for the tests".split()

    def make(rng: random.Random) -> bytes:
        text = separator.join(rng.choices(words, k=size))
        return prefix + text[:size]

    return make


def around(before: bytes, maker: Maker, after: bytes = b"") -> Maker:
    return lambda rng: before + maker(rng) + after


def hexadecimal(size: int, prefix: bytes = b"") -> Maker:
    return lambda rng: prefix + draw(rng, HEXADECIMAL, size)


def _camel(rng: random.Random) -> bytes:
    words = b"Secret Manager Value Rotation Default Handler Another Factory Generic Provider Template Release".split()
    return b"".join(rng.choices(words, k=9))[:40]


NEAR_MISSES: dict[str, list[Maker]] = {
    "router-key": [
        router(b"sk-router-", other_checksum),
        cut(MAKERS["router-key"], 58),
        repeated(b"sk-router-", 49),
        glued(MAKERS["router-key"]),
    ],
    "router-admin-key": [
        router(b"sk-admin-", other_checksum),
        cut(MAKERS["router-admin-key"], 57),
        glued(MAKERS["router-admin-key"]),
    ],
    "openai-admin-key": [
        repeated(b"sk-admin-", 124),
        prose(b"sk-admin-", 124),
        lambda rng: b"sk-admin-" + draw(rng, URLSAFE, 40) + b".",
        glued(MAKERS["openai-admin-key"]),
    ],
    "openai-api-key": [
        repeated(b"sk-", 48),
        repeated(b"sk-proj-", 48),
        fixed(
            b"sk-your-api-key-here",
            b"sk-...",
            b"sk-proj-YOUR_API_KEY_GOES_HERE",
            b"sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        ),
        prose(b"sk-", 48, b""),
        prose(b"sk-proj-", 90),
        hexadecimal(48, b"sk-"),
        lambda rng: b"sk-" + draw(rng, BASE62, 36),
        lambda rng: b"sk-" + draw(rng, BASE62, 49),
        lambda rng: b"sk-proj-" + draw(rng, BASE62, 30),
        lambda rng: b"sk-proj-" + b"x" * 20 + MARKER + b"x" * 20,
        lambda rng: b"sk-" + draw(rng, BASE62, 20) + MARKER + draw(rng, BASE62, 12),
        glued(openai_legacy),
        glued(openai_long(b"sk-proj-")),
        lambda rng: draw(rng, string.ascii_lowercase, 4) + b"ri" + openai_legacy(rng),
    ],
    "anthropic-api-key": [
        repeated(b"sk-ant-api03-", 95),
        prose(b"sk-ant-api03-", 95),
        fixed(b"sk-ant-api03-...", b"sk-ant-api03-your-key-here", b"sk-ant-api03-AA"),
        cut(MAKERS["anthropic-api-key"], 80),
        hexadecimal(95, b"sk-ant-api03-"),
        glued(MAKERS["anthropic-api-key"]),
    ],
    "anthropic-admin-key": [
        repeated(b"sk-ant-admin01-", 95),
        cut(MAKERS["anthropic-admin-key"], 80),
        glued(MAKERS["anthropic-admin-key"]),
    ],
    "anthropic-token": [
        repeated(b"sk-ant-oat01-", 95),
        cut(MAKERS["anthropic-token"], 80),
        prose(b"sk-ant-oat01-", 95),
        glued(MAKERS["anthropic-token"]),
    ],
    "aws-access-key": [
        fixed(b"AKIAIOSFODNN7" + b"EXAMPLE", b"AKIAI44QH8DHB" + b"EXAMPLE"),
        repeated(b"AKIA", 16),
        cut(aws_key, 12),
        lambda rng: aws_key(rng) + draw(rng, BASE32, 1),
        lambda rng: aws_key(rng)[:-1] + rng.choice((b"0", b"1", b"8", b"9", b"a", b"-")),
        lambda rng: aws_key(rng).lower(),
        lambda rng: rng.choice((b"AKIB", b"AROA", b"AIDA")) + draw(rng, BASE32, 16),
        lambda rng: b"ACCA" + draw(rng, "ACGT", 16),
        glued(aws_key),
    ],
    "aws-secret-key": [
        aws_secret,
        around(b"commit ", hexadecimal(40)),
        lambda rng: b"%s in commit %s" % (aws_key(rng), draw(rng, HEXADECIMAL, 40)),
        lambda rng: b"aws_secret_access_key = %s" % draw(rng, HEXADECIMAL, 40),
        lambda rng: b"AWS_SECRET_ACCESS_KEY=%s" % draw(rng, BASE64, 28),
        lambda rng: b"AWS_SECRET_ACCESS_KEY=%s" % draw(rng, BASE64, 41),
        lambda rng: b"AWS_SECRET_ACCESS_KEY=%s" % base64.b64encode(rng.randbytes(120)),
        around(b"aws_secret_access_key=", fixed(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + b"EXAMPLEKEY")),
        around(b"aws_secret_access_key=", repeated(b"", 40)),
        around(b"secretKey: ", _camel),
        around(
            b"secret key ", lambda rng: base64.b64encode(b'{"id":%s,"name":"signed"' % number(rng, 9))[:40]
        ),
        around(b"secret_key = ", prose(b"", 40, b"/")),
        lambda rng: aws_key(rng) + b" " * 400 + aws_secret(rng),
        lambda rng: b"AWS_SECRET_ACCESS_KEY " + b"." * 200 + b" " + aws_secret(rng),
        lambda rng: b"AKIAIOSFODNN7" + b"EXAMPLE " + aws_secret(rng),
    ],
    "aws-session-token": [
        fixed(b"AQoDYXdz" + b"EJr...<remainder of security token>", b"IQoJb3JpZ2luX2Vj..."),
        cut(aws_session, 60),
        repeated(b"FwoGZXIvYXdz", 300),
        glued(aws_session),
    ],
    "aws-bedrock-key": [
        cut(bedrock_long, 64),
        repeated(b"ABSK", 128),
        fixed(b"bedrock-api-key-your-key-here", b"bedrock-api-key-123"),
        glued(bedrock_long),
    ],
    "github-token": [
        github(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", seal=other_checksum),
        github(b"ghr_", size=70, seal=other_checksum),
        github(b"ghx_", b"gha_"),
        repeated(b"ghp_", 36),
        fixed(b"ghp_" + BASE62[10:46].encode(), b"ghp_your_token_here"),
        cut(github(b"ghp_"), 34),
        hexadecimal(40),
        glued(github(b"ghp_")),
        cut(github_stateless, 100),
    ],
    "github-fine-grained-token": [
        repeated(b"github_pat_" + b"1" * 22 + b"_", 59),
        cut(github_fine_grained, 80),
        lambda rng: b"github_pat_" + draw(rng, BASE62, 82),
        glued(github_fine_grained),
    ],
    "slack-token": [
        fixed(
            b"xoxb-xxxxxxxxxxxx-xxxxxxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx", b"xoxb-not-a-real-token", b"xoxp-1234"
        ),
        fixed(
            b"xoxb-123456789012-123456789012-" + b"abcdefghij" * 2,
            b"xoxe.xoxp-1-SlackConfigurationAccessTokenHere",
        ),
        fixed(b"xoxp-000000000000-000000000000-000000000000-" + b"0" * 32),
        lambda rng: b"xoxb-" + number(rng, 12) + b"-" + draw(rng, BASE62, 9),
        lambda rng: b"xoxb-" + draw(rng, BASE62, 40),
        glued(slack_bot),
    ],
    "slack-app-token": [
        cut(slack_app, 90),
        lambda rng: (
            b"xapp-1-A" + draw(rng, string.ascii_uppercase, 10) + b"-" + number(rng, 13) + b"-" + b"0" * 64
        ),
        fixed(b"xapp-1-your-app-level-token"),
        glued(slack_app),
    ],
    "slack-webhook": [
        fixed(b"https://hooks.slack.com/services/T00000000/B00000000/" + b"X" * 24),
        fixed(b"https://hooks.slack.com/services/", b"https://hooks.slack.com/services/T0/B0/short"),
        around(b"https://hooks.slack.com/services/T0AAAAAAA/", MAKERS["slack-webhook"]),
        around(b"https://files.slack.com/services/T0AAAAAAA/B0AAAAAAA/", MAKERS["slack-webhook"]),
        MAKERS["slack-webhook"],
    ],
    "stripe-secret-key": [
        repeated(b"sk_live_", 24),
        fixed(b"sk_test_your_key_here", b"sk_live_...", b"sk_test_" + BASE62[10:40].encode()),
        lambda rng: b"pk_live_" + draw(rng, BASE62, 24),
        lambda rng: b"sk_live_" + draw(rng, BASE62, 12),
        prose(b"sk_test_", 99, b""),
        glued(MAKERS["stripe-secret-key"]),
    ],
    "stripe-restricted-key": [
        repeated(b"rk_live_", 24),
        lambda rng: b"rk_test_" + draw(rng, BASE62, 12),
        glued(MAKERS["stripe-restricted-key"]),
    ],
    "stripe-webhook-secret": [
        repeated(b"whsec_", 32),
        fixed(b"whsec_your_webhook_secret", b"whsec_test_secret"),
        lambda rng: b"whsec_" + draw(rng, BASE62, 16),
        glued(stripe_webhook),
    ],
}
