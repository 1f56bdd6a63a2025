"""AWS Signature Version 4, as request headers: values in, header pairs out, with neither clock nor IO.

Source: AWS IAM User Guide, "Create a signed AWS API request". It covers every service but S3, whose canonical
path is encoded once where all others encode it again, and no query-string (presigned) or chunked signatures.
A small signer of our own because it runs for every call to Bedrock: botocore, the judge of it in the tests,
takes several times as long.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from sovereign_ext.credentials import AwsKeys
from sovereign_ext.secret import Secret

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
_CACHED: Final = 256  # derived keys and paths kept: one per credential and day, one per model


def sign(  # noqa: PLR0917 - a request, in the order it has on the wire
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    keys: AwsKeys,
    *,
    region: str,
    service: str,
    now_s: float,
) -> tuple[tuple[str, str], ...]:
    """The headers to add: ``x-amz-date``, ``x-amz-security-token`` with temporary keys, ``authorization``.

    ``host``, ``path`` and ``query`` (without its ``?``) are exactly what goes on the wire, percent-encoded
    once; ``headers`` are those of the request, without the ones that are added here. Signed are ``host``,
    ``content-type`` and whatever begins with ``x-amz-``: proxies may change any other. ``body`` is hashed as
    it is sent, so nothing may touch it afterwards. ``now_s`` is Unix seconds by AWS's clock, which refuses a
    signature that is minutes off.
    """
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    date = stamp[:8]
    added = [("x-amz-date", stamp)]
    if keys.session_token is not None:
        added.append(("x-amz-security-token", keys.session_token.reveal()))
    named = _canonical_headers(host, [*headers, *added])
    signed = ";".join(named)
    lines = "".join(f"{name}:{value}\n" for name, value in named.items())
    canonical = (
        f"{method}\n{_canonical_path(path)}\n{_canonical_query(query)}\n"
        f"{lines}\n{signed}\n{sha256(body).hexdigest()}"
    )
    scope = f"{date}/{region}/{service}/{_TERMINATOR}"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = _derived_key(keys.secret_access_key, date, region, service)
    signature = _hmac(key, to_sign).hex()
    told = (
        f"{_ALGORITHM} Credential={keys.access_key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    return (*added, ("authorization", told))


def _canonical_headers(host: str, headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Signed headers, sorted by name: values trimmed, inner white space made single, repeats joined."""
    found: dict[str, str] = {"host": host}
    for given, value in headers:
        name = given.lower()
        if name != "content-type" and not name.startswith("x-amz-"):
            continue
        trimmed = " ".join(value.split())
        found[name] = f"{found[name]},{trimmed}" if name in found else trimmed
    return {name: found[name] for name in sorted(found)}


@lru_cache(maxsize=_CACHED)
def _canonical_path(path: str) -> str:
    """The path without dot segments and doubled slashes (RFC 3986 5.2.4), encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    normal = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote(normal, safe="/~")


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


@lru_cache(maxsize=_CACHED)
def _derived_key(secret: Secret, date: str, region: str, service: str) -> bytes:
    """The signing key of one day, region and service. Only ever asked for with a ``Secret``, which hides."""
    key = f"AWS4{secret.reveal()}".encode()
    for part in (date, region, service, _TERMINATOR):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
