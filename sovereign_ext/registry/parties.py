"""Who may sign what: the parties of a configuration with their keys, read from the documents it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sovereign_ext.config.documents import Document
from sovereign_ext.config.model import Config
from sovereign_ext.config.trust import Signatory, Witness
from sovereign_ext.config.yamltree import Path, dotted
from sovereign_ext.errors import ConfigError, StatementError, VerificationError
from sovereign_ext.registry.envelope import PublicKey, read_public_key


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody with a key. ``organisation`` is for whom they speak; ``scopes`` are a witness's."""

    id: str
    key: PublicKey
    organisation: str | None = None
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parties:
    """Every party by role and id. One id may stand for different parties in different roles."""

    publishers: Mapping[str, Party]
    witnesses: Mapping[str, Party]
    observers: Mapping[str, Party]
    providers: Mapping[str, Party]

    def named(self, name: str) -> tuple[Party, ...]:
        """Everybody of this id, in whatever role."""
        roles = (self.publishers, self.witnesses, self.observers, self.providers)
        return tuple(role[name] for role in roles if name in role)


@dataclass(slots=True)
class Findings:
    """What is wrong, in the order it was found: faults stop a configuration, warnings do not."""

    file: str
    faults: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)

    def at_config(self, path: Path, reason: str) -> None:
        """A fault of a field of the configuration."""
        self.faults.append(ConfigError(reason, file=self.file, field=dotted(path)))

    def at_document(self, document: Document, error: VerificationError, within: str = "") -> None:
        """A fault of a document; ``within`` is its field where the error does not say."""
        reason, at = str(error), within
        if isinstance(error, StatementError):
            reason, at = error.reason, error.field
        self.faults.append(ConfigError(reason, file=document.path, field=at))

    def warn_config(self, path: Path, reason: str) -> None:
        """A warning about a field of the configuration."""
        self.warnings.append(ConfigError(reason, file=self.file, field=dotted(path)))

    def warn_document(self, path: str, within: str, reason: str) -> None:
        """A warning about a document."""
        self.warnings.append(ConfigError(reason, file=path, field=within))


def read_parties(config: Config, files: Mapping[str, Document], findings: Findings) -> Parties:
    """Every party whose key can be read; the others are faults."""
    keys = _Keys(files, findings)
    trust = config.trust
    witnesses = keys.signatories("witnesses", trust.witnesses)
    _one_key_each(trust.witnesses, witnesses, findings)
    return Parties(
        publishers=keys.signatories("publishers", trust.publishers),
        witnesses=witnesses,
        observers=keys.signatories("observers", trust.observers),
        providers={
            provider.id: Party(provider.id, key, provider.origin.organisation)
            for index, provider in enumerate(config.providers)
            if provider.key_path is not None
            and (key := keys.read(("providers", index, "key_file"), provider.key_path)) is not None
        },
    )


class _Keys:
    def __init__(self, files: Mapping[str, Document], findings: Findings) -> None:
        self._files = files
        self._findings = findings

    def signatories(self, section: str, items: Iterable[Signatory]) -> dict[str, Party]:
        found: dict[str, Party] = {}
        for index, item in enumerate(items):
            key = self.read(("trust", section, index, "key_file"), item.key_path)
            if key is not None:
                scopes = frozenset(item.scopes) if isinstance(item, Witness) else frozenset()
                found[item.id] = Party(item.id, key, item.organisation, scopes)
        return found

    def read(self, path: Path, name: str) -> PublicKey | None:
        document = self._files.get(name)
        if document is None:
            self._findings.at_config(path, "this file was not loaded")
            return None
        try:
            return read_public_key(document.raw)
        except VerificationError as error:
            self._findings.at_document(document, error)
            return None


def _one_key_each(declared: Sequence[Witness], parties: Mapping[str, Party], findings: Findings) -> None:
    """Two witnesses with one key would be one voice that counts twice."""
    seen: dict[PublicKey, str] = {}
    for index, witness in enumerate(declared):
        party = parties.get(witness.id)
        if party is not None and seen.setdefault(party.key, witness.id) != witness.id:
            reason = f"holds the same key as witness '{seen[party.key]}'"
            findings.at_config(("trust", "witnesses", index, "key_file"), reason)
