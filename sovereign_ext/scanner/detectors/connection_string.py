"""Passwords in connection strings: in URLs, and as ``Password=`` among other settings.

Specs: RFC 3986 section 3.2.1 (user information), libpq's and MongoDB's connection strings, ADO.NET's and
ODBC's ``Key=Value;``, JDBC URLs. Only the password is the secret; user, host and the rest stay readable. A
password that is plainly none is left: a variable (``${DB_PASSWORD}``, ``{password}``, ``%s``), something in
brackets, the same character throughout, nothing but words such as ``my_password`` or ``changeme``, or the
user's name again. Deliberately does not look for passwords that stand alone (``DB_PASSWORD=``): there,
nothing but the name would tell.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from sovereign_ext.scanner.base import Detector, Span, once

_STORES: Final = (
    b"postgres postgresql mysql mysqlx mariadb mongodb redis rediss valkey amqp amqps mssql sqlserver "
    b"oracle cockroachdb clickhouse snowflake neo4j bolt nats mqtt mqtts ldap ldaps smtp smtps imap imaps "
    b"ftp ftps sftp ssh smb socks5"
).split()
_WEB: Final = (b"http", b"https", b"ws", b"wss", b"git")
_LONGEST: Final = 512
"""Bytes of a URL up to its host."""

_URL: Final = re.compile(rb"[a-z0-9]{2,12}(?:\+[a-z0-9_]{1,24})?://([^\s:/?#@\"'`<>\\()\[\]^*|,;]{0,128}+):")
_STRICT: Final = re.compile(rb"(?!\d{1,5}[,?#/])[^\s/?#\"'`<>\\]{4,}(?=@[^\s@])")
_LOOSE: Final = re.compile(rb"(?!\d{1,5}[;,/?#])([^\s@\"'`<>\\]{4,}+)@[A-Za-z0-9\[_$/{]")
"""With characters that stand percent-encoded in a URL, but not where a host with its port comes first."""

_INFO: Final = rb"(?:[^\s\"@/\\<>]|\\+u[0-9A-Fa-f]{4})+"
_AT: Final = rb"(?:@|%(?:25)*40|\\+u0040)"
_USERINFO: Final = rb"(?:[a-z0-9_]+:\\*/\\*/)?" + _INFO + rb"(?:/" + _INFO + rb")?" + _AT
"""What stands behind an anchor in raw JSON; the second slash ends the host of a URL without user information."""

_ORACLE: Final = re.compile(rb"jdbc:oracle:[a-z0-9]{3,4}:([^\s/@\"'`<>\\]{1,128}+)/([^\s/@\"'`<>\\]{4,}+)@")

_SETTING: Final = re.compile(
    rb"(?i:password|passwd|pwd)=\s?"
    rb"(?:\"([^\"\n]{4,128})\"|'([^'\n]{4,128})'|\{([^}\n]{4,128})\}|([^;&\s\"'`<>]{4,256}+))"
)
_BARE: Final = 4
"""The group of a value without quotation marks."""

_BEFORE: Final = frozenset(b"?&; \t\n\"'({")
_AROUND: Final = 400
"""Bytes on either side in which the other settings of a connection string stand."""

_KEY: Final = (
    rb"(?i:server|data source|addr|address|host|hostname|hostaddr|endpoint|driver|initial catalog|database|dbname|port"
    rb"|user id|userid|uid|user|username)"
)
_SEMICOLONS: Final = re.compile(rb"(?:\A|(?<=[;\"'\s({=]))" + _KEY + rb"\s?=\s?(?=([^;\n]))")
_SPACES: Final = re.compile(rb"(?:\A|(?<=[\"'\s-]))" + _KEY + rb"=(?=([^\s,;()]{1,200}+)(?:\s|\Z))")
_QUOTED: Final = re.compile(rb"(?:\A|(?<=[\"'\s(,-]))" + _KEY + rb"\s?=\s?[\"'](?=([^\s\"'<>]))")
"""Other settings, each with (the beginning of) its value as the group."""

_QUERY: Final = re.compile(rb"[^\s\"'`<>]*")
_EXPRESSION: Final = re.compile(
    rb"[A-Za-z_$]++(?:\.[A-Za-z_$]++)+|[A-Za-z_$][A-Za-z0-9_$.]*[(\[].*[)\]]|.*\.(?i:password|passwd|pwd|pw)"
)
_CALL: Final = re.compile(rb"[,()\[\]]")
_NAME: Final = re.compile(rb"[A-Za-z_$]+")

_VARIABLE: Final = re.compile(
    rb"\$[({].*|\$[A-Z_][A-Z0-9_]*|#\{.*|@\{.*|\{+[^}]*\}*|\[[^\]]*\]|\([^)]*\)|(?:%|[\x80-\xff])[A-Za-z0-9_]*%|%\(.*|\.\.\..*",
    re.DOTALL,
)
_WORD_LIST: Final = (
    b"my your the a an some new old super very strong secure db database postgres postgresql mysql mariadb "
    b"mongodb mongo redis rabbitmq amqp sql mssql ftp sftp smtp mail email proxy http basic auth access "
    b"api app admin root user username guest anonymous service server login password passwd passphrase "
    b"pass pwd pw secret token key credential credentials value here goes change changeme replace "
    b"replaceme me this it placeholder example sample test testing dummy fake demo foo bar baz hidden "
    b"redacted masked removed none null undefined empty xoauth oauth tiger x y z"
).split()
_WORDS: Final = re.compile(
    rb"[$:\[({]*+(?:(?:" + b"|".join(sorted(_WORD_LIST, reverse=True)) + rb")[-_.!*\])}>\s]*+)++",
    re.IGNORECASE,
)
_ANONYMOUS: Final = b"anonymous"


def find_in_url(text: bytes, at: int) -> Span | None:
    """The password in the user information of the URL at ``at``."""
    limit = min(len(text), at + _LONGEST)
    if text.startswith(b"jdbc:", at):
        oracle = _ORACLE.match(text, at, limit)
        return Span(*oracle.span(2)) if oracle and _is_password(oracle[2], oracle[1]) else None
    head = _URL.match(text, at, limit)
    if head is None or head[1].lower() == _ANONYMOUS:
        return None
    start = head.end()
    strict = _STRICT.match(text, start, limit)
    loose = None if strict else _LOOSE.match(text, start, limit)
    end = strict.end() if strict else loose.end(1) if loose else start
    return Span(start, end) if _is_password(text[start:end], head[1]) else None


def find_setting(text: bytes, at: int) -> Span | None:
    """The value of the ``Password=`` at ``at``, if it stands among other settings of a connection."""
    found = _SETTING.match(text, at)
    if found is None or (at and text[at - 1] not in _BEFORE and text[max(0, at - 2) : at] != b"--"):
        return None
    group = found.lastindex or 0
    if not _is_password(found[group], b"") or not _is_setting(text, found):
        return None
    return Span(*found.span(group))


def _is_setting(text: bytes, found: re.Match[bytes]) -> bool:
    """Whether the text of the same line around ``found`` is that of a connection string, not of a program."""
    at, end = found.span()
    before = text[max(0, at - _AROUND) : at].rsplit(b"\n", 1)[-1]
    after = text[end : at + _AROUND].split(b"\n", 1)[0]
    bare = found[_BARE]
    if before[-1:] in {b"?", b"&"} or (bare is not None and after[:1] == b"&"):
        authority = before.rfind(b"://")
        return authority >= 0 and _QUERY.fullmatch(before, authority) is not None
    if bare is not None and (
        _EXPRESSION.fullmatch(bare) or (found[0][:1].islower() and _NAME.fullmatch(bare))
    ):
        return False
    if before.rstrip()[-1:] == b";" or after.lstrip()[:1] == b";":
        beside: tuple[_Settings, ...] = (_by_semicolons,)
    elif bare is None:
        beside = (_quoted, _by_spaces)
    else:
        beside = () if _CALL.search(bare) else (_by_spaces,)
    parts = ((at - len(before), at), (end, end + len(after)))
    return any(_has(text, settings, *part) for settings in beside for part in parts)


_Settings = Callable[[bytes], "tuple[array[int], array[int]]"]
"""Of a text, where the names of its settings begin, and where as much of their values ends as makes them settings."""


def _by_semicolons(text: bytes) -> tuple[array[int], array[int]]:
    return _places(text, _SEMICOLONS)


def _by_spaces(text: bytes) -> tuple[array[int], array[int]]:
    return _places(text, _SPACES)


def _quoted(text: bytes) -> tuple[array[int], array[int]]:
    return _places(text, _QUOTED)


def _places(text: bytes, setting: re.Pattern[bytes]) -> tuple[array[int], array[int]]:
    starts, ends = array("I"), array("I")
    for found in setting.finditer(text):
        starts.append(found.start())
        ends.append(found.end(1))
    return starts, ends


def _has(text: bytes, settings: _Settings, begin: int, end: int) -> bool:
    """Whether one of ``settings`` lies in ``text[begin:end]``. Many passwords may ask of the same text."""
    starts, ends = once(text, settings)
    first = bisect_left(starts, begin)
    return first < len(ends) and ends[first] <= end


def _is_password(value: bytes, user: bytes) -> bool:
    """Whether ``value`` is no placeholder."""
    return (
        len(value) >= 4
        and len(set(value)) > 2
        and value.lower() != user.lower()
        and _VARIABLE.fullmatch(value) is None
        and _WORDS.fullmatch(value) is None
    )


CONNECTION_STRING: Final = (
    Detector(
        kind="url-password",
        family="connection-string",
        version=1,
        about="passwords in URLs of databases, queues, mail, file and web servers",
        anchors=(
            *(scheme + mark for scheme in _STORES for mark in (b"://", b"+")),
            *(scheme + b"://" for scheme in _WEB),
            b"jdbc:oracle:",
        ),
        find=find_in_url,
        reach=_LONGEST,
        wraps=False,
        then=_USERINFO,
    ),
    Detector(
        kind="connection-string-password",
        family="connection-string",
        version=1,
        about="passwords in connection strings of settings (ADO.NET, ODBC, libpq, JDBC)",
        anchors=(b"password=", b"passwd=", b"pwd="),
        find=find_setting,
        fold=True,
        back=_AROUND,
        reach=_AROUND,
        wraps=False,
    ),
)
