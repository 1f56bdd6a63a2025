"""Amazon Web Services: access key ids, the secrets that go with them, session tokens, Bedrock API keys.

Formats: the IAM user guide's unique identifiers (``AKIA`` long-term, ``ASIA`` temporary, ``ABIA`` bearer token,
``ACCA`` context; 16 characters of base32 follow), and what the services hand out. A secret access key has no mark of
its own, 40 characters of base64: it is taken beside an access key id or after one of its usual names only, and not
where it could be a hash, a path or a piece of something longer. The example credentials of the documentation contain
``EXAMPLE`` and are left alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final

from sovereign_ext.scanner.base import Detector, Find, Span, once
from sovereign_ext.scanner.evidence import entropy, made_at_random
from sovereign_ext.scanner.extent import begins_line, encoded, ends, lines_in, stop_in

_NEAR: Final = 300  # bytes between an access key id and its secret
_NAMED: Final = 120  # bytes from the beginning of a secret's name to the secret
_ID_SIZE: Final = 20
_SECRET_SIZE: Final = 40
_LEAST_ENTROPY: Final = 3.5  # of base64 that is no uniform draw: tokens begin with runs of one character

_ID: Final = re.compile(rb"A(?:KIA|SIA|BIA|CCA)([2-7A-Z]{16})")
_CAPITAL: Final = re.compile(rb"[0-9A-Z]")
_SECRET: Final = re.compile(rb"[0-9A-Za-z/+]{40}")
_RUN: Final = re.compile(rb"[0-9A-Za-z/+]{40,}+")
_BESIDE: Final = re.compile(rb"[0-9A-Za-z/+_.-]")
_BEHIND: Final = re.compile(rb"[0-9A-Za-z/+=_-]")
_HEXADECIMAL: Final = re.compile(rb"[0-9A-Fa-f]{40}")
_BASE64: Final = re.compile(rb"[0-9A-Za-z/+]{1,4000}+")
_LEAST_ENCODED: Final = 96  # characters of a session token or Bedrock key: the shortest seen have more
_JUDGED: Final = 256  # characters that are enough to tell random ones
_LONGEST_KEY: Final = 400  # and of a long-term Bedrock key; what is longer is base64 that happens to begin so
# How many capitals and how many small letters there must be: words written together have few capitals.
_LETTERS_ONLY: Final = 10
_OTHERWISE: Final = 2
_CAPITALS: Final = bytes(range(ord("A"), ord("Z") + 1))
_SMALL: Final = _CAPITALS.lower()
_NO_CAPITALS: Final = bytes(set(range(256)) - set(_CAPITALS))
_NO_SMALL: Final = bytes(set(range(256)) - set(_SMALL))
_BLOCK: Final = 256  # bytes of text that are looked through for secrets at once
_EXAMPLE: Final = b"EXAMPLE"
_LONG_TERM: Final = b"ABSK"
_SHORT_TERM: Final = b"bedrock-api-key-"
_IDS: Final = (b"AKIA", b"ASIA", b"ABIA", b"ACCA")
_ID_TAIL: Final = (rb"[2-7A-Z]", 16)
_NAMES: Final = (
    *(b"secret%caccess%ckey" % (mark, mark) for mark in b"_- ."),
    *(b"secret%ckey" % mark for mark in b"_- ."),
    *(b"aws%csecret" % mark for mark in b"_- ."),
    b"secretaccesskey",
    b"secretkey",
    b"awssecret",
)
_SESSIONS: Final = (  # base64 of a byte or two, the length of a name, and origin_ec, er/aws or aws
    *(first + b"oJb3JpZ2luX2Vj" for first in (b"IQ", b"Ag", b"Fw")),
    *(first + b"oGZXIvYXdz" for first in (b"Fw", b"FQ", b"IQ", b"Ag", b"AQ")),
    *(first + b"oDYXdz" for first in (b"Fw", b"FQ", b"IQ", b"Ag", b"AQ")),
)


def _access_key(text: bytes, at: int) -> Span | None:
    return once(text, _access_key_at, at)  # three detectors ask


def _access_key_at(text: bytes, at: int) -> Span | None:
    match = _ID.match(text, at)
    if match is None or not made_at_random(match[1], 32):
        return None
    return Span(*match.span()) if ends(text, match.end(), _CAPITAL) else None


def _secret_after(text: bytes, at: int) -> Span | None:
    """The first secret within 300 bytes behind an access key id."""
    if _access_key(text, at) is None:
        return None
    begin = at + _ID_SIZE
    return next(_secrets(text, begin, begin + _NEAR + _SECRET_SIZE), None)


def _secret_before(text: bytes, at: int) -> Span | None:
    """The last secret within 300 bytes before an access key id."""
    if _access_key(text, at) is None:
        return None
    return next(_secrets(text, max(0, at - _NEAR - _SECRET_SIZE), at, backwards=True), None)


def _secret_named(text: bytes, at: int) -> Span | None:
    return next(_secrets(text, at, at + _NAMED + _SECRET_SIZE), None)


def _secrets(text: bytes, begin: int, end: int, backwards: bool = False) -> Iterator[Span]:
    """What may be a secret access key and lies whole in ``text[begin:end]``."""
    numbers = range(begin // _BLOCK, end // _BLOCK + 1)
    for number in reversed(numbers) if backwards else numbers:
        starts = once(text, _candidates, number)  # many anchors may stand around them
        for start in reversed(starts) if backwards else starts:
            if start < begin or start + _SECRET_SIZE > end:
                continue
            if once(text, _is_secret, text[start : start + _SECRET_SIZE]):
                yield Span(start, start + _SECRET_SIZE)


def _candidates(text: bytes, block: int) -> list[int]:
    """Where in the block of that number what is as long as a secret begins, and is no part of something longer."""
    begin = block * _BLOCK
    return [
        start
        for start in _starts(text, begin, begin + _BLOCK + _SECRET_SIZE - 1)
        if _SECRET.match(text, start)
        and ends(text, start + _SECRET_SIZE, _BEHIND)
        and not stop_in(text, start, start + _SECRET_SIZE)
    ]


def _starts(text: bytes, begin: int, end: int) -> Iterator[int]:
    """Where in ``text[begin:end]`` a secret may begin: with a run of its characters, or with a line in one."""
    for run in _RUN.finditer(text, begin, end):
        start = run.start()
        if start == 0 or _BESIDE.match(text, start - 1) is None or begins_line(text, start):
            yield start
        yield from lines_in(text, *run.span())


def _is_secret(_text: bytes, value: bytes) -> bool:
    least = _LETTERS_ONLY if value.isalpha() else _OTHERWISE
    if len(value.translate(None, _NO_CAPITALS)) < least or len(value.translate(None, _NO_SMALL)) < least:
        return False
    if _HEXADECIMAL.fullmatch(value) is not None or not made_at_random(value, 64):
        return False
    return not base64.b64decode(value).isascii()  # thirty bytes of text


def _session_token(text: bytes, at: int) -> Span | None:
    return _encoded(text, at, at)


def _bedrock_key(text: bytes, at: int) -> Span | None:
    if text.startswith(_SHORT_TERM, at):
        return _encoded(text, at, at + len(_SHORT_TERM))
    span = _encoded(text, at, at)
    return None if span is None or span.end - at > _LONGEST_KEY else span


def _encoded(text: bytes, at: int, start: int) -> Span | None:
    """Base64 of unknown length from ``start`` on, with its padding."""
    end = encoded(text, start, _BASE64)
    if end is None or end - start < _LEAST_ENCODED:
        return None
    body = text[start:end]
    if _EXAMPLE in body or entropy(body[:_JUDGED]) < _LEAST_ENTROPY:
        return None
    return Span(at, end)


def _secret_detector(find: Find, anchors: tuple[bytes, ...], back: int, reach: int, named: bool) -> Detector:
    return Detector(
        kind="aws-secret-key",
        family="aws",
        version=1,
        about="AWS secret access keys: 40 characters, within 300 bytes of an access key id or behind a usual name",
        anchors=anchors,
        find=find,
        fold=named,
        boundary=not named,
        back=back,
        reach=reach,
        tail=(b"", 0) if named else _ID_TAIL,
    )


# Three ways to the same kind: beside an access key id there may be a secret on either side, of two pairs in a row.
AWS: Final = (
    Detector(
        kind="aws-access-key",
        family="aws",
        version=1,
        about="AWS access key ids: AKIA ASIA ABIA ACCA, 16 characters of base32",
        anchors=_IDS,
        find=_access_key,
        reach=48,
        tail=_ID_TAIL,
    ),
    _secret_detector(_secret_after, _IDS, back=0, reach=_ID_SIZE + _NEAR + _SECRET_SIZE + 1, named=False),
    _secret_detector(_secret_before, _IDS, back=_NEAR + _SECRET_SIZE + 1, reach=48, named=False),
    _secret_detector(_secret_named, _NAMES, back=0, reach=_NAMED + _SECRET_SIZE + 1, named=True),
    Detector(
        kind="aws-session-token",
        family="aws",
        version=1,
        about="AWS session tokens, by the beginnings that the token service gives them",
        anchors=_SESSIONS,
        find=_session_token,
        reach=4200,
        tail=(rb"[0-9A-Za-z/+]", 32),
    ),
    Detector(
        kind="aws-bedrock-key",
        family="aws",
        version=1,
        about="Amazon Bedrock API keys: ABSK (long-term) and bedrock-api-key- (short-term)",
        anchors=(_LONG_TERM, _SHORT_TERM),
        find=_bedrock_key,
        reach=4200,
        tail=(rb"[0-9A-Za-z/+]", 32),
    ),
)
