"""Makers of synthetic credentials of the families beyond the six, and of their look-alikes.

``MAKERS`` gives a secret of each kind as the detector must find it, byte by byte; ``SETTINGS`` gives the text that must
stand before and after one of a kind that counts only beside its name. All is made at run time from a seeded generator:
none is anyone's, and no literal here looks like one.
"""

from __future__ import annotations

import base64
import json
import random
import string
import zlib
from collections.abc import Callable
from typing import Final

Maker = Callable[[random.Random], bytes]
Setting = Callable[[random.Random], tuple[bytes, bytes]]

ALPHANUMERIC: Final = (string.ascii_letters + string.digits).encode()
BASE64: Final = ALPHANUMERIC + b"+/"
BASE64URL: Final = ALPHANUMERIC + b"-_"
BASE62: Final = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
BASE36: Final = (string.digits + string.ascii_lowercase).encode()
HEX: Final = b"0123456789abcdef"


def draw(rng: random.Random, letters: bytes, size: int) -> bytes:
    """``size`` of ``letters``."""
    return bytes(rng.choices(letters, k=size))


def number(value: int, digits: bytes, width: int) -> bytes:
    """``value`` to the base of the number of ``digits``, filled up to ``width``."""
    out = bytearray()
    for _ in range(width):
        value, digit = divmod(value, len(digits))
        out.append(digits[digit])
    return bytes(reversed(out))


def base64url(raw: bytes) -> bytes:
    """Without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def pem(label: bytes, raw: bytes, *, headers: bytes = b"", newline: bytes = b"\n", width: int = 64) -> bytes:
    """A block in PEM."""
    encoded = base64.b64encode(raw)
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    return newline.join([b"-----BEGIN " + label + b"-----", *([headers] if headers else []), *lines]) + (
        newline + b"-----END " + label + b"-----"
    )


def rsa_key(rng: random.Random) -> bytes:
    """The bytes of an RSA key of 2048 bits in PKCS#8, as far as its shape goes."""
    head = bytes.fromhex("308204bd020100300d06092a864886f70d0101010500048204a7308204a30201000282010100")
    return head + rng.randbytes(1217 - len(head))


def private_key(rng: random.Random) -> bytes:
    """A block of some kind of key, its lines broken in some way."""
    newline = rng.choice([b"\n", b"\n", b"\r\n", b" ", b"\n    "])
    small = bytes.fromhex("302e020100300506032b657004220420") + rng.randbytes(32)
    openssh = (
        b"openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0\0\0\0\0\0\1\0\0\0\x33\0\0\0\x0bssh-ed25519"
        + rng.randbytes(280)
    )
    dek = (
        b"Proc-Type: 4,ENCRYPTED"
        + newline
        + b"DEK-Info: AES-128-CBC,"
        + rng.randbytes(16).hex().upper().encode()
    )
    label, raw, headers, width = rng.choice(
        [
            (b"PRIVATE KEY", rsa_key(rng), b"", 64),
            (b"PRIVATE KEY", small, b"", 64),
            (b"RSA PRIVATE KEY", rsa_key(rng), b"", 64),
            (b"RSA PRIVATE KEY", rsa_key(rng), dek + newline.strip(b" "), 64),
            (b"EC PRIVATE KEY", bytes.fromhex("30770201010420") + rng.randbytes(114), b"", 64),
            (b"ENCRYPTED PRIVATE KEY", rng.randbytes(1200), b"", 64),
            (b"OPENSSH PRIVATE KEY", openssh, b"", 70),
            (
                b"PGP PRIVATE KEY BLOCK",
                rng.randbytes(900),
                b"" if newline == b" " else b"Version: 2.6" + newline,
                64,
            ),
        ]
    )
    return pem(label, raw, headers=headers, newline=newline, width=width)


def jwt(rng: random.Random) -> bytes:
    """A signed token, or an encrypted one."""
    claims = {"sub": draw(rng, HEX, 12).decode(), "exp": rng.randrange(10**9, 2 * 10**9)}
    if rng.random() < 0.2:
        header = {"alg": "RSA-OAEP", "enc": "A256GCM"}
        parts = [rng.randbytes(256), rng.randbytes(12), rng.randbytes(90), rng.randbytes(16)]
    else:
        size, algorithm = rng.choice([(32, "HS256"), (64, "ES256"), (256, "RS256"), (64, "EdDSA")])
        header = {"alg": algorithm, "typ": "JWT"}
        parts = [json.dumps(claims).encode(), rng.randbytes(size)]
    separators = rng.choice([(",", ":"), (", ", ": ")])
    return b".".join(base64url(part) for part in [json.dumps(header, separators=separators).encode(), *parts])


def _short_jwt(rng: random.Random, header: object, signature: int = 32) -> bytes:
    parts = [json.dumps(header).encode(), b'{"sub":"1"}', rng.randbytes(signature)]
    return b".".join(base64url(part) for part in parts)


def google_api_key(rng: random.Random) -> bytes:
    """Of the older form, or of AI Studio's."""
    if rng.random() < 0.5:
        return b"AIza" + draw(rng, BASE64URL, 35)
    return b"AQ." + b"Ab8" + draw(rng, BASE64URL, 47)


def google_oauth_token(rng: random.Random) -> bytes:
    """An access token, or one to get new ones with."""
    if rng.random() < 0.5:
        return b"ya29." + draw(rng, BASE64URL, rng.randrange(130, 220))
    return b"1//" + b"0" + draw(rng, BASE64URL, rng.randrange(60, 110))


def azure_account_key(rng: random.Random) -> bytes:
    """64 bytes."""
    return base64.b64encode(rng.randbytes(64))


def azure_client_secret(rng: random.Random) -> bytes:
    """Of one of two lengths, with a letter at both ends."""
    letters = ALPHANUMERIC + b"._-~"
    mark, size = rng.choice([(b"8Q~", 34), (b"7Q~", 31)])
    return (
        draw(rng, ALPHANUMERIC, 1)
        + draw(rng, letters, 2)
        + mark
        + draw(rng, letters, size - 1)
        + draw(rng, ALPHANUMERIC, 1)
    )


def azure_key(rng: random.Random) -> bytes:
    """With the signature of some service."""
    tail = draw(rng, BASE64, 5) + draw(rng, b"AQgw", 1) + b"=="
    return rng.choice(
        [
            draw(rng, ALPHANUMERIC, 52) + b"JQQJ99" + draw(rng, b"ABC", 1) + draw(rng, b"ABCDEFGHIJKL", 1)
            + b"AC" + draw(rng, ALPHANUMERIC, 6) + b"XJ3w3AAAB" + b"ACOG" + draw(rng, ALPHANUMERIC, 3),
            draw(rng, BASE64URL, 42) + b"gA" + b"QJJQ" + b"ABAE" + b"TEST" + b"AA" + b"BCDEFG",
            draw(rng, BASE64, 76) + rng.choice([b"+ASt", b"ACDb", b"APIM", b"+ABa"]) + tail,
            draw(rng, BASE64, 33) + rng.choice([b"+ASb", b"AIoT", b"AzCa"]) + b"D" + draw(rng, BASE64, 5) + b"=",
            draw(rng, ALPHANUMERIC, 42) + b"AzSe" + b"B" + draw(rng, ALPHANUMERIC, 5),
            draw(rng, BASE64, 42) + b"+ACR" + b"C" + draw(rng, BASE64, 5),
        ]
    )  # fmt: skip


def gitlab_routable(rng: random.Random, prefix: bytes = b"glpat-") -> bytes:
    """A token that says which cell it belongs to, with its checksum."""
    routing = b"o:%d\nu:%s" % (rng.randrange(1, 99), draw(rng, BASE36, rng.randrange(1, 7)))
    payload = base64url(routing + rng.randbytes(16) + b"\x10")
    covered = prefix + payload + b"." + number(len(payload), BASE36, 2)
    return covered + number(zlib.crc32(covered), BASE36, 7)


def gitlab_token(rng: random.Random) -> bytes:
    """Of some kind; those of fixed length do not end like a word with a hyphen."""
    friendly = draw(rng, BASE64URL, 19) + draw(rng, ALPHANUMERIC, 1)
    prefix = rng.choice(
        [
            b"glpat-",
            b"gldt-",
            b"glrt-",
            b"glptt-",
            b"glft-",
            b"glwt-",
            b"glsoat-",
            b"glffct-",
            b"GR13" + b"48941",
        ]
    )
    return rng.choice(
        [
            prefix + friendly,
            b"glrt-" + b"t1_" + friendly,
            b"glcbt-" + b"64_" + friendly,
            b"glcbt-" + _short_jwt(rng, {"alg": "RS256", "typ": "JWT"}),
            b"glptt-" + draw(rng, HEX, 40),
            b"gloas-" + draw(rng, HEX, 64),
            b"glimt-" + draw(rng, BASE36, 25),
            b"glagent-" + draw(rng, BASE64URL, 49) + b"a",
            gitlab_routable(rng),
            gitlab_routable(rng, b"glrt-t1_"),
            gitlab_routable(rng, b"acme-glpat-"),
        ]
    )


def npm_token(rng: random.Random) -> bytes:
    """With the checksum of its thirty characters."""
    body = draw(rng, BASE62, 30)
    return b"npm_" + body + number(zlib.crc32(body), BASE62, 6)


def npm_auth_token(rng: random.Random) -> bytes:
    """A UUID, or a token whose checksum nobody checked."""
    sizes = (8, 4, 4, 4, 12)
    return rng.choice([b"-".join(draw(rng, HEX, size) for size in sizes), b"npm_" + draw(rng, BASE62, 36)])


def pypi_token(rng: random.Random) -> bytes:
    """A macaroon with a caveat or two."""
    location = rng.choice([b"pypi.org", b"test.pypi.org"])
    sizes = (8, 4, 4, 4, 12)
    identifier = b"-".join(draw(rng, HEX, size) for size in sizes)
    caveats = [
        b'[3,"%s"]' % identifier,
        b'{"version":1,"permissions":{"projects":["%s"]}}' % draw(rng, BASE36, 150),
    ]
    raw = b"\x02" + _packet(1, location) + _packet(2, identifier) + b"\0"
    raw += b"".join(_packet(2, caveat) + b"\0" for caveat in caveats[: rng.randrange(3)])
    return b"pypi-" + base64url(raw + b"\0" + _packet(6, rng.randbytes(32)))


def _packet(kind: int, body: bytes) -> bytes:
    size = len(body)
    return bytes([kind, *([size] if size < 128 else [size & 127 | 128, size >> 7])]) + body


def password(rng: random.Random) -> bytes:
    """As generators make them, of characters that a URL need not encode."""
    size = rng.randrange(9, 24)
    return (
        draw(rng, string.ascii_letters.encode(), 1)
        + draw(rng, ALPHANUMERIC + b"-_.!*+~", size)
        + draw(rng, b"0123456789", 1)
    )


MAKERS: Final[dict[str, Maker]] = {
    "google-api-key": google_api_key,
    "google-oauth-client-secret": lambda rng: b"GOCSPX" + b"-" + draw(rng, BASE64URL, 28),
    "google-oauth-token": google_oauth_token,
    "google-service-account-key": lambda rng: pem(b"PRIVATE KEY", rsa_key(rng)),
    "google-private-key-id": lambda rng: draw(rng, HEX, 40),
    "azure-account-key": azure_account_key,
    "azure-shared-access-key": lambda rng: base64.b64encode(rng.randbytes(32)),
    "azure-sas-signature": lambda rng: base64.b64encode(rng.randbytes(32)),
    "azure-client-secret": azure_client_secret,
    "azure-ai-key": lambda rng: draw(rng, HEX, 32),
    "azure-key": azure_key,
    "private-key": private_key,
    "jwt": jwt,
    "gitlab-token": gitlab_token,
    "npm-token": npm_token,
    "npm-auth-token": npm_auth_token,
    "pypi-token": pypi_token,
    "huggingface-token": lambda rng: (
        rng.choice([b"hf", b"api_org"]) + b"_" + draw(rng, string.ascii_letters.encode(), 34)
    ),
    "url-password": password,
    "connection-string-password": password,
}
"""A secret of each kind."""


def _one_of(*settings: tuple[bytes, bytes]) -> list[Setting]:
    def exactly(setting: tuple[bytes, bytes]) -> Setting:
        return lambda _: setting

    return [exactly(setting) for setting in settings]


SETTINGS: Final[dict[str, list[Setting]]] = {
    "google-service-account-key": _one_of(
        (b'{"type": "service_account", "private_key_id": "", "private_key": "', b'", "client_id": "1"}'),
        (b'{"client_id": "1", "private_key": "', b'", "private_key_id": ""}'),
    ),
    "google-private-key-id": _one_of((b'"private_key_id": "', b'", '), (b"private_key_id='", b"'")),
    "azure-account-key": _one_of(
        (b"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=", b";EndpointSuffix=core.windows.net"),
        (b"AccountEndpoint=https://acme.documents.azure.com:443/;AccountKey=", b";"),
        (b"AZURE_STORAGE_KEY=", b"\n"),
        (b'account_key = "', b'"'),
    ),
    "azure-shared-access-key": _one_of(
        (
            b"Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=",
            b";EntityPath=q",
        ),
        (b"HostName=acme.azure-devices.net;SharedAccessKeyName=owner;SharedAccessKey=", b""),
    ),
    "azure-sas-signature": _one_of(
        (b"https://acme.blob.core.windows.net/c/b?sv=2024-11-04&se=2030-01-01T00:00:00Z&sr=b&sp=r&sig=", b""),
        (b"https://acme.blob.core.windows.net/c?sig=", b"&se=2030-01-01&sp=r&sv=2024-11-04"),
        (b"SharedAccessSignature sr=acme.azure-devices.net&sig=", b"&se=1924991999&skn=owner"),
    ),
    "azure-ai-key": _one_of(
        (b"AZURE_OPENAI_API_KEY=", b"\n"),
        (b'azure_openai_key: "', b'"'),
        (b"Ocp-Apim-Subscription-Key: ", b"\r\n"),
        (b'{"api-key": "', b'"}'),
    ),
    "npm-auth-token": _one_of(
        (b"//registry.npmjs.org/:_authToken=", b"\n"),
        (b'//npm.acme.example/:_authToken="', b'"'),
    ),
    "url-password": _one_of(
        (b"postgres://app:", b"@db.internal:5432/app?sslmode=require"),
        (b"postgresql+psycopg2://app:", b"@db.internal/app"),
        (b"mysql://root:", b"@10.0.0.7/shop"),
        (b"mongodb+srv://reader:", b"@cluster0.acme.mongodb.net/test"),
        (b"mongodb://u:", b"@h1:27017,h2:27017/x"),
        (b"redis://:", b"@cache:6379/0"),
        (b"rediss://default:", b"@cache.acme.example:6380"),
        (b"amqp://worker:", b"@mq/%2f"),
        (b"https://ci:", b"@git.acme.example/x.git"),
        (b"ftp://backup:", b"@files.acme.example/"),
        (b"jdbc:oracle:thin:scott/", b"@db:1521:orcl"),
    ),
    "connection-string-password": _one_of(
        (b"Server=tcp:acme.database.windows.net,1433;Database=shop;User ID=app;Password=", b";Encrypt=True;"),
        (b"Driver={ODBC Driver 18};Server=db;UID=app;PWD=", b";"),
        (b"host=db.internal port=5432 user=app password=", b" dbname=shop"),
        (b"jdbc:postgresql://db.internal/shop?user=app&password=", b"&ssl=true"),
        (b"jdbc:sqlserver://db:1433;databaseName=shop;user=app;password=", b";"),
        (b'connect(host="db.internal", user="app", password="', b'")'),
    ),
}
"""What must stand before and after a secret of these kinds; the others need nothing."""


def _around(kind: str, make: Maker) -> Maker:
    """A look-alike where a secret of this kind would count."""

    def near_miss(rng: random.Random) -> bytes:
        before, after = rng.choice(SETTINGS[kind])(rng)
        return before + make(rng) + after

    return near_miss


def _placeholders(kind: str, *values: bytes) -> list[Maker]:
    def placeholder(value: bytes) -> Maker:
        return _around(kind, lambda _: value)

    return [placeholder(value) for value in values]


def _text(value: bytes) -> Maker:
    return lambda _: value


def _changed(secret: bytes, at: int) -> bytes:
    """``secret`` with another letter or digit at ``at``."""
    at %= len(secret)
    other = b"a" if secret[at : at + 1] != b"a" else b"b"
    return secret[:at] + other + secret[at + 1 :]


def _sequence(letters: bytes, size: int) -> bytes:
    return (letters * (size // len(letters) + 1))[:size]


_EMPTY_BLOCK: Final = b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"
_NOT_PASSWORDS: Final = (
    b"${DB_PASSWORD}",
    b"$DB_PASSWORD",
    b"{password}",
    b"{{ .Values.password }}".replace(b" ", b""),
    b"#{ENV['PW']}".replace(b"'", b""),
    b"[password]",
    b"(password)",
    b"****",
    b"xxxxxxxx",
    b"password",
    b"PASSWORD",
    b"pass",
    b"my_password",
    b"your-db-password",
    b"[[password]]",
    b"YourPassword",
    b"changeme",
    b"%DB_PASSWORD%",
    b"%(password)s",
    b"...",
    b"[REDACTED:url-password:1]",
)

NEAR_MISSES: Final[dict[str, list[Maker]]] = {
    "google-api-key": [
        lambda rng: b"AIza" + draw(rng, BASE64URL, 34) + b" ",
        lambda rng: b"AIza" + draw(rng, BASE64URL, 36),
        lambda rng: b"AIza" + b"x" * 35,
        lambda rng: b"AIza" + b"SyYourApiKeyGoesHere" + draw(rng, BASE64URL, 15),
        lambda rng: b"x" + b"AIza" + draw(rng, BASE64URL, 35),
        lambda rng: b"AQ.Ab" + draw(rng, BASE64URL, 20),
        lambda rng: b"AQ.Ab" + _sequence(string.ascii_letters.encode(), 48),
    ],
    "google-oauth-client-secret": [
        lambda rng: b"GOCSPX-" + draw(rng, BASE64URL, 27) + b" ",
        lambda rng: b"GOCSPX-" + b"your-client-secret-goes-here"[:28],
        lambda rng: b"GOCSPX-" + b"X" * 28,
    ],
    "google-oauth-token": [
        lambda rng: b"ya29." + draw(rng, BASE64URL, 20),
        lambda rng: b"ya29." + b"a" * 120,
        _text(b"pages = 1//0"),
    ],
    "google-service-account-key": [
        *_placeholders(
            "google-service-account-key",
            b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
            b"",
        ),
        lambda rng: b'"private_key_id": "", "private_key": "' + pem(b"PUBLIC KEY", rng.randbytes(294)) + b'"',
    ],
    "google-private-key-id": [
        *_placeholders("google-private-key-id", b"", b"your-private-key-id", b"0" * 40),
        lambda rng: draw(rng, HEX, 40),
        _around("google-private-key-id", lambda rng: draw(rng, HEX, 64)),
    ],
    "azure-account-key": [
        *_placeholders("azure-account-key", b"<key>", b"your-account-key", b"A" * 86 + b"=="),
        lambda rng: base64.b64encode(rng.randbytes(64)),
        _around("azure-account-key", lambda rng: base64.b64encode(rng.randbytes(50))),
    ],
    "azure-shared-access-key": [
        *_placeholders("azure-shared-access-key", b"<key>", b"your-key", b"A" * 43 + b"="),
        lambda rng: base64.b64encode(rng.randbytes(32)),
    ],
    "azure-sas-signature": [
        *_placeholders("azure-sas-signature", b"<signature>", b"...", b"A" * 43 + b"="),
        lambda rng: b"sig=" + base64.b64encode(rng.randbytes(32)),
        _around("azure-sas-signature", lambda rng: draw(rng, HEX, 64)),
    ],
    "azure-client-secret": [
        lambda rng: draw(rng, ALPHANUMERIC, 3) + b"8Q~" + draw(rng, ALPHANUMERIC, 20) + b" ",
        lambda rng: draw(rng, ALPHANUMERIC, 4) + b"8Q~" + draw(rng, ALPHANUMERIC, 34),
        lambda rng: draw(rng, ALPHANUMERIC, 3) + b"9Q~" + draw(rng, ALPHANUMERIC, 34),
        lambda rng: b"abc8Q~" + b"x" * 34,
    ],
    "azure-ai-key": [
        *_placeholders(
            "azure-ai-key", b"<your-api-key>", b"your_api_key", b"0" * 32, b"0123456789abcdef" * 2
        ),
        lambda rng: draw(rng, HEX, 32),
        lambda rng: b"md5: " + draw(rng, HEX, 32),
        lambda rng: b"etag=" + draw(rng, HEX, 32),
        _around("azure-ai-key", lambda rng: draw(rng, HEX, 64)),
    ],
    "azure-key": [
        lambda rng: draw(rng, ALPHANUMERIC, 51) + b"JQQJ99" + b"BFAC" + draw(rng, ALPHANUMERIC, 22) + b" ",
        lambda rng: b"x" * 52 + b"JQQJ99" + b"BFAC" + draw(rng, ALPHANUMERIC, 22),
        lambda rng: draw(rng, BASE64, 75) + b"+ASt" + draw(rng, BASE64, 5) + b"w==",
        lambda rng: draw(rng, BASE64, 200) + b"ACDb" + draw(rng, BASE64, 200),
    ],
    "private-key": [
        lambda rng: pem(b"PUBLIC KEY", rng.randbytes(294)),
        lambda rng: pem(b"CERTIFICATE", rng.randbytes(900)),
        lambda rng: pem(b"PGP PUBLIC KEY BLOCK", rng.randbytes(900)),
        lambda rng: pem(b"CERTIFICATE REQUEST", rng.randbytes(600)),
        _text(_EMPTY_BLOCK),
        _text(b"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----"),
        _text(_EMPTY_BLOCK.replace(b"...", b"your private key in PEM goes here and nowhere else")),
        _text(
            b"It begins with -----BEGIN OPENSSH PRIVATE KEY----- and goes on with lines of base64 until it ends."
        ),
        lambda rng: b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 640 + b"\n-----END PRIVATE KEY-----",
    ],
    "jwt": [
        lambda rng: base64url(b'{"alg":"none","typ":"JWT"}') + b"." + base64url(rng.randbytes(30)) + b".",
        lambda rng: _short_jwt(rng, {"alg": "none"}),
        lambda rng: _short_jwt(rng, {"typ": "JWT"}),
        lambda rng: _short_jwt(rng, ["alg"]),
        lambda rng: (
            b"eyJ"
            + draw(rng, BASE64URL, 33)
            + b"."
            + draw(rng, BASE64URL, 40)
            + b"."
            + draw(rng, BASE64URL, 43)
        ),
        lambda rng: base64url(b'{"alg":"HS256","typ":"JWT"}') + b"." + base64url(b'{"sub":"1"}'),
        lambda rng: base64url(b'{"alg":"HS256","typ":"JWT"}') + b".payload.signature",
        lambda rng: b"Zm9v" + jwt(rng),
    ],
    "gitlab-token": [
        lambda rng: b"glpat-" + draw(rng, ALPHANUMERIC, 19),
        lambda rng: b"glpat-" + draw(rng, ALPHANUMERIC, 21),
        lambda rng: b"glpat-" + b"x" * 20,
        lambda rng: b"glpat-" + b"your_access_token_000"[:20],
        lambda rng: b"mod" + b"glpat-" + draw(rng, ALPHANUMERIC, 20),
        lambda rng: _changed(gitlab_routable(rng), -1),
        lambda rng: _changed(gitlab_routable(rng), 12),
        lambda rng: b"gloas-" + draw(rng, HEX, 40),
    ],
    "npm-token": [
        lambda rng: _changed(npm_token(rng), -1),
        lambda rng: _changed(npm_token(rng), 7),
        lambda rng: b"npm_" + b"x" * 36,
        lambda rng: b"npm_config_registry_and_other_settings_of_it",
        lambda rng: b"x" + npm_token(rng),
    ],
    "npm-auth-token": [
        *_placeholders(
            "npm-auth-token", b"${NPM_TOKEN}", b"npm_" + b"X" * 36, b"00000000-0000-0000-0000-000000000000"
        ),
        lambda rng: draw(rng, HEX, 8) + b"-0000-4000-8000-" + draw(rng, HEX, 12),
    ],
    "pypi-token": [
        _text(b"pypi-AgEIcHlwaS5vcmc"),
        _text(b"pypi-AgEIcHlwaS5vcmc..."),
        lambda rng: pypi_token(rng)[:-20],
        lambda rng: b"pypi-" + draw(rng, BASE64URL, 170),
        lambda rng: b"pypi-AgEIcHlwaS5vcmcC" + b"A" * 150,
    ],
    "huggingface-token": [
        lambda rng: b"hf_" + draw(rng, ALPHANUMERIC, 33),
        lambda rng: b"hf_" + draw(rng, ALPHANUMERIC, 35),
        lambda rng: b"hf_" + b"x" * 34,
        lambda rng: b"hf_" + b"YourHuggingFaceAccessTokenGoesHere"[:34],
        lambda rng: b"hf_" + b"transformersmodelconfigurationfile"[:34],
        lambda rng: b"shelf_" + draw(rng, ALPHANUMERIC, 34),
    ],
    "url-password": [
        *_placeholders("url-password", *_NOT_PASSWORDS),
        _text(b"postgres://postgres:postgres@localhost:5432/postgres"),
        _text(b"amqp://guest:guest@localhost:5672/"),
        _text(b"http://user:pass@localhost"),
        _text(b"ftp://anonymous:ann@files.example.com/"),
        _text(b"https://registry.npmjs.org:443/@scope/name"),
        _text(b"http://localhost:3000/@vite/client"),
        _text(b"mongodb://h1:27017,h2:27017/db?tag=a@b"),
        _text(b"ssh://git@git.example.com:22/x@y"),
        _text(b"https://x-access-token:x-oauth-basic@github.com"),
        _text(b"(https?)://([^:]+):([^@]+)@(.*)"),
        _text(b'"postgres://" + user + ":" + quoted + "@" + host'),
        _text(b"postgresql://{user}:{password}@{host}/{name}"),
        _text(b"mysql://%s:%s@%s/%s"),
    ],
    "connection-string-password": [
        *_placeholders("connection-string-password", *_NOT_PASSWORDS),
        _text(b"connect(user=user, password=password1, host=host)"),
        _text(b"connect(user=user_1, password=settings.password_1)"),
        _text(b"e.password=t.password;e.host=t.host;"),
        _text(b"password=newPassword;host=t;"),
        _text(b"password=readPassword(1);server=s;"),
        _text(b"the form has password=required1 and nothing else"),
        _text(b"if password=='abc12345' and user=='x'"),
        lambda rng: b"DB_PASSWORD=" + password(rng),
    ],
}
"""Look-alikes of each kind in which no detector may find anything."""
