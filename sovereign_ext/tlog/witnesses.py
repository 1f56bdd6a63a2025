"""Who is asked to witness this log, and when their cosignatures are enough: settings as values.

Made from ``Config.log``; files it names are read through a function, so nothing here touches a disk. Asking is
``witnessing``'s matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sovereign_ext.errors import ConfigError, VerificationError
from sovereign_ext.roots import read_roots
from sovereign_ext.tlog.cosignature import CosignerKey, parse_cosigner_key
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.policyfile import (
    LogPolicy,
    PolicyLog,
    PolicyWitness,
    parse_policy,
    threshold_policy,
)

if TYPE_CHECKING:
    from sovereign_ext.config.trust import Log, Mirror

POLICY_FILE = "tlog-policy"
"""Name of the published policy file: the log's key, its witnesses and the quorum (C2SP tlog-policy)."""


@dataclass(frozen=True, slots=True)
class WitnessPeer:
    """Somebody to ask. ``url`` is the submission prefix without a slash at the end, ``roots`` PEM certificates instead
    of the system's. ``mirror_key`` is there when it mirrors too, under ``url`` as monitoring prefix."""

    url: str
    key: CosignerKey
    mirror_key: CosignerKey | None = None
    roots: bytes | None = None


@dataclass(frozen=True, slots=True)
class WitnessSet:
    """All who are asked, and the policy that says when a checkpoint is cosigned."""

    peers: tuple[WitnessPeer, ...]
    policy: LogPolicy

    def public_policy(self, log: Verifier) -> bytes:
        """The policy as a file for others, with this log's key."""
        policy = self.policy
        return LogPolicy((PolicyLog(log),), policy.witnesses, policy.groups, policy.quorum).encode()


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """How it goes with one peer: ``size`` and ``time_s`` of its last cosignature in this process (0: none yet),
    and why the last attempt failed."""

    name: str
    url: str
    size: int
    time_s: int
    last_error: str | None


def witness_set(settings: Log, read: Callable[[str], bytes]) -> WitnessSet:
    """The witnesses that ``settings`` name. ``read`` gives the content of ``ca_file`` and ``policy_file``.

    Raises ``ConfigError`` with the field, and whatever ``read`` raises.
    """
    peers = [_peer(mirror, f"log.mirrors[{at}]", read) for at, mirror in enumerate(settings.mirrors)]
    if settings.policy_file is None:
        named = (
            PolicyWitness(b"witness-%d" % number, peer.key, peer.url) for number, peer in enumerate(peers, 1)
        )
        try:
            policy = threshold_policy((), named, settings.quorum or len(peers))
        except ConfigError as error:
            raise ConfigError(error.reason, field="log.mirrors") from None
        return WitnessSet(tuple(peers), policy)
    policy = parse_policy(read(settings.policy_file), settings.policy_file)
    known = {peer.key.public_key for peer in peers}
    for witness in policy.witnesses:
        if witness.url is not None and witness.key.public_key not in known:
            peers.append(WitnessPeer(witness.url.rstrip("/"), witness.key))
    return WitnessSet(tuple(peers), policy)


def _peer(mirror: Mirror, field: str, read: Callable[[str], bytes]) -> WitnessPeer:
    key = _key(mirror.key, f"{field}.key")
    mirror_key = None if mirror.mirror_key is None else _key(mirror.mirror_key, f"{field}.mirror_key")
    if mirror_key is not None and mirror_key.public_key == key.public_key:
        # An Ed25519 cosignature does not say which of the two statements it makes.
        raise ConfigError("a mirror's two keys must differ", field=f"{field}.mirror_key")
    roots = read_roots(mirror.ca_path, read, f"{field}.ca_file")
    return WitnessPeer(mirror.url.rstrip("/"), key, mirror_key, roots)


def _key(text: str, field: str) -> CosignerKey:
    try:
        return parse_cosigner_key(text)
    except VerificationError as error:
        raise ConfigError(str(error), field=field) from None
