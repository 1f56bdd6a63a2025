"""The external logs of a configuration, with their keys read and checked. Nothing is contacted here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sovereign_ext.attest.rekor import RekorKey
from sovereign_ext.config.trust import Anchor
from sovereign_ext.errors import ConfigError, ConfigErrors, VerificationError
from sovereign_ext.roots import read_roots


@dataclass(frozen=True, slots=True)
class Target:
    """An external Rekor. ``origin`` is the first line of its checkpoints, where it is known; ``roots`` are PEM
    certificates instead of the system's; a checkpoint is anchored every ``every_s`` seconds."""

    id: str
    kind: str  # rekor.V1 or rekor.V2
    url: str
    key: RekorKey
    every_s: float
    origin: str | None = None
    roots: bytes | None = None


def targets(anchors: Iterable[Anchor], read: Callable[[str], bytes]) -> tuple[Target, ...]:
    """The targets of ``log.anchors``; ``read`` gives the content of a file named in the configuration.

    Raises ``ConfigErrors`` with every fault: an id used twice, a key or CA file that holds something else.
    """
    found: dict[str, Target] = {}
    faults: list[ConfigError] = []
    for at, anchor in enumerate(anchors):
        place = f"log.anchors[{at}]"
        if anchor.id in found:
            faults.append(ConfigError(f"{anchor.id!r} is the id of an earlier anchor", field=f"{place}.id"))
        try:
            key = RekorKey.from_pem(read(anchor.key_path))
        except VerificationError as error:
            faults.append(ConfigError(str(error), field=f"{place}.key_file"))
            continue
        try:
            roots = read_roots(anchor.ca_path, read, f"{place}.ca_file")
        except ConfigError as error:
            faults.append(error)
            continue
        found[anchor.id] = Target(
            anchor.id, anchor.kind.value, anchor.url, key, anchor.every_s, anchor.origin, roots
        )
    if faults:
        raise ConfigErrors(faults)
    return tuple(found.values())
