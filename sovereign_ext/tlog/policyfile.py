"""Policy files as C2SP tlog-policy defines them: which logs, which witnesses, and how many of them are enough.

https://c2sp.org/tlog-policy. Log keys are Ed25519 (type 0x01), witness keys cosignature/v1 (type 0x04); other types
are refused rather than ignored, because a quorum that cannot count all its members is not the one that was meant.
Names are octets, compared as such. Pure: bytes in, a value out, and back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from sovereign_ext.errors import ConfigError, VerificationError
from sovereign_ext.tlog.cosignature import CosignerKey, parse_cosigner_key
from sovereign_ext.tlog.note import Verifier, parse_verifier

NONE: Final = b"none"
"""The quorum that needs nobody."""

MAX_POLICY_BYTES: Final = 1_000_000
_ALLOWED: Final = frozenset([0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)])


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that is accepted; its key is named like its origin. ``url`` is the prefix of its tiles, if given."""

    key: Verifier
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness. ``name`` means something within the file only; ``url`` is its submission prefix, if given."""

    name: bytes
    key: CosignerKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A group witnesses a checkpoint when at least ``threshold`` of its ``members`` do."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """A policy; a ``cosignature.Quorum``. ``groups`` are in the order of definition, members before groups."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: bytes

    def met(self, keys: Collection[CosignerKey]) -> bool:
        """Whether a checkpoint that ``keys`` have cosigned satisfies the quorum."""
        if self.quorum == NONE:
            return True
        signed = {key.public_key for key in keys}
        witnessed = {witness.name for witness in self.witnesses if witness.key.public_key in signed}
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def encode(self) -> bytes:
        """The policy as a file."""
        lines = [_line(b"log", log.key.encode(), log.url) for log in self.logs]
        lines += [_line(b"witness " + item.name, item.key.encode(), item.url) for item in self.witnesses]
        for group in self.groups:
            lines.append(b"group %b %d %b" % (group.name, group.threshold, b" ".join(group.members)))
        lines.append(b"quorum " + self.quorum)
        return b"".join(line + b"\n" for line in lines)


def threshold_policy(
    logs: Iterable[PolicyLog], witnesses: Iterable[PolicyWitness], threshold: int
) -> LogPolicy:
    """``threshold`` of all ``witnesses``; none are needed when there are none."""
    members = tuple(witnesses)
    if not members:
        return LogPolicy(tuple(logs), (), (), NONE)
    if not 1 <= threshold <= len(members):
        raise ConfigError(f"quorum is {threshold}, there are {len(members)} witnesses")
    if len({witness.key.public_key for witness in members}) != len(members):
        raise ConfigError("two witnesses have the same key, so one would count twice")
    group = PolicyGroup(b"quorum-of-all", threshold, tuple(witness.name for witness in members))
    return LogPolicy(tuple(logs), members, (group,), group.name)


def parse_policy(data: bytes, file: str = "") -> LogPolicy:
    """Read a policy file. Raises ``ConfigError`` with ``file`` and line."""
    if len(data) > MAX_POLICY_BYTES:
        raise ConfigError(f"policy has {len(data)} bytes, at most {MAX_POLICY_BYTES} are read", file=file)
    parser = _Parser()
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            if number == len(lines) and line:
                # Cut off in the middle of a name it could still mean something: something else.
                raise ConfigError("the last line does not end with a newline: is the file complete?")
            if words := _words(line):
                parser.line(words)
        except VerificationError as error:
            raise ConfigError(str(error), file=file, line=number) from None
        except ConfigError as error:
            raise ConfigError(error.reason, file=file, line=number) from None
    if parser.quorum is None:
        raise ConfigError("policy has no quorum line", file=file)
    return LogPolicy(tuple(parser.logs), tuple(parser.witnesses), tuple(parser.groups), parser.quorum)


def _words(line: bytes) -> list[bytes]:
    """The words of a line; none for an empty line or a comment."""
    if not _ALLOWED.issuperset(line):
        raise ConfigError("policy holds a control character other than tab and newline")
    words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
    return [] if words and words[0].startswith(b"#") else words


class _Parser:
    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self._defined: set[bytes] = set()
        self._members: set[bytes] = set()
        self.quorum: bytes | None = None

    def line(self, words: list[bytes]) -> None:
        match words:
            case [b"log", vkey, *url] if len(url) <= 1:
                self._log(parse_verifier(_text(vkey)), url)
            case [b"witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, parse_cosigner_key(_text(vkey)), url)
            case [b"group", name, threshold, *members] if members:
                self._group(name, threshold, tuple(members))
            case [b"quorum", name]:
                self._set_quorum(name)
            case _:
                raise ConfigError(
                    "expected 'log VKEY [URL]', 'witness NAME VKEY [URL]', 'group NAME all|any|K NAME...' "
                    "or 'quorum NAME'"
                )

    def _log(self, key: Verifier, url: list[bytes]) -> None:
        if any(log.key.public_key == key.public_key for log in self.logs):
            raise ConfigError(f"log {key.name} has the key of another log")
        self.logs.append(PolicyLog(key, _url(url)))

    def _witness(self, name: bytes, key: CosignerKey, url: list[bytes]) -> None:
        if any(witness.key.public_key == key.public_key for witness in self.witnesses):
            raise ConfigError(f"witness {_show(name)} has the key of another witness")
        self._define(name)
        self.witnesses.append(PolicyWitness(name, key, _url(url)))

    def _group(self, name: bytes, threshold: bytes, members: tuple[bytes, ...]) -> None:
        for member in members:
            self._known(member)
            if member in self._members:
                raise ConfigError(f"{_show(member)} is a member twice; it may be one of one group only")
            self._members.add(member)
        needed = _threshold(threshold, len(members))
        self._define(name)
        self.groups.append(PolicyGroup(name, needed, members))

    def _set_quorum(self, name: bytes) -> None:
        if self.quorum is not None:
            raise ConfigError("policy has a second quorum line")
        if name != NONE:
            self._known(name)
        self.quorum = name

    def _define(self, name: bytes) -> None:
        if name == NONE or name in self._defined:
            raise ConfigError(f"the name {_show(name)} is taken")
        self._defined.add(name)

    def _known(self, name: bytes) -> None:
        if name not in self._defined:
            raise ConfigError(f"{_show(name)} is not defined above this line")


def _threshold(text: bytes, members: int) -> int:
    if text in (b"any", b"all"):
        return 1 if text == b"any" else members
    # Nine digits are more than any file has members, and int() of a megabyte of digits would take long.
    number = int(text) if text.isdigit() and len(text) <= 9 else 0
    if not 1 <= number <= members:
        raise ConfigError(f"expected all, any or a number from 1 to {members}, got {_show(text)}")
    return number


def _url(words: list[bytes]) -> str | None:
    if not words:
        return None
    url = _text(words[0])
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"expected an http or https URL, got {url!r}")
    return url


def _line(head: bytes, vkey: str, url: str | None) -> bytes:
    return b" ".join([head, vkey.encode(), *([] if url is None else [url.encode()])])


def _text(word: bytes) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("expected UTF-8 in keys and URLs") from None


def _show(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
