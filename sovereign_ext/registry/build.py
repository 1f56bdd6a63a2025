"""A configuration and its documents → a ``Registry``, or everything that is wrong with them.

Each model's manifest is checked under its publisher's key and each statement under its signer's (``signed``); then
every deployment gets a dossier of what concerns it. Signatures are checked here once and never again; times are
checked at every moment by ``tiers``. Faults refuse the whole: a registry that leaves something out unseen could
leave out a revocation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from sovereign_ext.config.documents import Document
from sovereign_ext.config.model import Config, Deployment, Model, Provider
from sovereign_ext.config.trust import DigestBasis, Drift
from sovereign_ext.errors import ConfigErrors, StatementError, VerificationError
from sovereign_ext.registry.dossier import Dossier, Held, HeldManifest, WitnessWord
from sovereign_ext.registry.evidence import EvidenceSource
from sovereign_ext.registry.manifest import bundle_payload, verify_manifest
from sovereign_ext.registry.parties import Findings, Parties, Party, read_parties
from sovereign_ext.registry.reach import warn_of_policies
from sovereign_ext.registry.registry import NoEvidence, Registry, StoredDocument
from sovereign_ext.registry.signed import Signed, names_of, read_statements, warn_of_times, withdraw
from sovereign_ext.registry.statements import DriftReport, ProviderStatement, Revocation, WitnessStatement

_KINDS: Final = {
    WitnessStatement: "witness-statement",
    ProviderStatement: "provider-statement",
    DriftReport: "drift-report",
    Revocation: "revocation",
    type(None): "manifest",
}


def build(
    config: Config,
    documents: Iterable[Document],
    now_s: float,
    *,
    evidence: EvidenceSource | None = None,
    file: str = "sovereign.yaml",
) -> Registry:
    """The registry of ``config``, whose documents are ``documents``.

    ``now_s`` (Unix seconds) only decides about warnings; ``file`` names the configuration in messages. Raises
    ``ConfigErrors``: broken or foreign signatures, unknown parties, statements about things that do not exist.
    """
    findings = Findings(file)
    files = {document.path: document for document in documents}
    parties = read_parties(config, files, findings)
    manifests = _manifests(config, files, parties, findings)
    wanted = [document for document in files.values() if document.statement]
    signed = read_statements(config, wanted, parties, findings)
    if config.trust.max_drift is Drift.UNKNOWN:
        findings.at_config(("trust", "max_drift"), "expected stable, watch or drifted: unknown never passes")
    everything = [*signed, *(manifest.signed for manifest in manifests.values())]
    withdraw(everything, config.trust.clock_skew_s, findings)
    if findings.faults:
        raise ConfigErrors(findings.faults)
    warn_of_times(signed, now_s, config.trust.clock_skew_s, findings)
    makers = _Dossiers(config, parties, manifests, signed)
    makers.warn(findings)
    dossiers = {deployment.id: makers.dossier(deployment) for deployment in config.deployments}
    warn_of_policies(config, dossiers, now_s, findings)
    models = {model.id: model for model in config.models}
    return Registry(
        {
            item.id: (dossiers[item.id], models[item.model].digest, models[item.model].digest_basis)
            for item in config.deployments
        },
        evidence or NoEvidence(),
        {
            item.document.digest: StoredDocument(
                _KINDS[type(item.statement)], item.document.path, item.document.raw
            )
            for item in everything
        },
        tuple(findings.warnings),
    )


@dataclass(frozen=True, slots=True)
class _Signature:
    """A model's manifest, authentic. ``digest`` is what it signs."""

    signed: Signed
    digest: str


def _manifests(
    config: Config, files: Mapping[str, Document], parties: Parties, findings: Findings
) -> dict[str, _Signature]:
    """By model id."""
    found: dict[str, _Signature] = {}
    for index, model in enumerate(config.models):
        if model.manifest_path is None:
            continue
        if model.publisher is None:
            findings.at_config(
                ("models", index, "publisher"), "a manifest takes the publisher whose key signed it"
            )
            continue
        document, publisher = files.get(model.manifest_path), parties.publishers.get(model.publisher)
        if document is None:
            findings.at_config(("models", index, "manifest"), "this file was not loaded")
        if document is None or publisher is None:
            continue  # without a publisher its key file is at fault, which was said
        signature = _manifest(document, publisher, findings)
        if signature is None:
            continue
        found[model.id] = signature
        if signature.digest == model.digest:
            continue
        said = f"the manifest signs {signature.digest}"
        if model.digest_basis is DigestBasis.SIGNED_MANIFEST:
            findings.at_config(("models", index, "digest"), said)
        elif model.digest is None:
            findings.warn_config(("models", index, "digest"), f"is not given, so nothing is signed; {said}")
        else:
            findings.warn_config(("models", index, "digest"), f"is not what was signed; {said}")
    return found


def _manifest(document: Document, publisher: Party, findings: Findings) -> _Signature | None:
    try:
        manifest = verify_manifest(document.raw, publisher.key)
        payload = bundle_payload(document.raw)
    except StatementError as error:
        findings.at_document(document, error)
        return None
    except VerificationError as error:
        findings.at_document(document, error, "dsseEnvelope.signatures")
        return None
    return _Signature(Signed(document, None, names_of(document, payload), publisher), manifest.digest)


class _Dossiers:
    """Sorts what was signed by the deployments that it concerns."""

    def __init__(
        self, config: Config, parties: Parties, manifests: Mapping[str, _Signature], signed: Iterable[Signed]
    ) -> None:
        self._config = config
        self._parties = parties
        self._manifests = manifests
        self._models = {model.id: model for model in config.models}
        self._providers = {provider.id: provider for provider in config.providers}
        self._witness: list[Held[WitnessStatement]] = []
        self._provider: list[Held[ProviderStatement]] = []
        self._drift: list[Held[DriftReport]] = []
        self._paths: dict[str, str] = {}
        skew = config.trust.clock_skew_s
        for item in signed:
            statement = item.statement
            self._paths[item.document.digest] = item.document.path
            if isinstance(statement, WitnessStatement):
                held = item.held(statement.not_before - skew, statement.not_after)
                self._witness.append(cast("Held[WitnessStatement]", held))
            elif isinstance(statement, ProviderStatement):
                held = item.held(statement.not_before - skew, statement.not_after)
                self._provider.append(cast("Held[ProviderStatement]", held))
            elif isinstance(statement, DriftReport):
                end = statement.measured_at + statement.valid_for_s
                held = item.held(statement.measured_at - skew, end)
                self._drift.append(cast("Held[DriftReport]", held))

    def dossier(self, deployment: Deployment) -> Dossier:
        """What concerns one deployment."""
        model, provider = self._models[deployment.model], self._providers[deployment.provider]
        trust = self._config.trust
        return Dossier(
            provider=provider.id,
            uses_tls=provider.endpoint.startswith("https://"),
            identity=provider.tls,
            evidence=provider.evidence,
            manifest=self._held_manifest(model),
            provider_words=tuple(
                held
                for held in self._provider
                if held.statement.provider == provider.id and held.statement.digest == model.digest
            ),
            witness_words=tuple(
                self._word(held, model, provider)
                for held in self._witness
                if held.statement.digest == model.digest or held.statement.model == model.id
            ),
            drift_words=tuple(
                held
                for held in self._drift
                if held.statement.digest == model.digest
                and held.statement.deployment in (None, deployment.id)
            ),
            min_witnesses=trust.min_witnesses,
            max_drift=trust.max_drift,
            clock_skew_s=trust.clock_skew_s,
        )

    def warn(self, findings: Findings) -> None:
        """Of statements that will not count, whatever the time."""
        about: list[tuple[str, WitnessStatement | ProviderStatement | DriftReport]]
        about = [(held.document, held.statement) for held in self._witness]
        about += [(held.document, held.statement) for held in self._provider]
        about += [(held.document, held.statement) for held in self._drift]
        for document, said in about:
            digest = self._models[said.model].digest
            if said.digest != digest:
                reason = f"is not the digest of model '{said.model}', which is {digest or 'not given'}"
                findings.warn_document(self._paths[document], "subject[0].digest", reason)
        for item in self._witness:
            if item.statement.scope not in self._parties.witnesses[item.statement.witness].scopes:
                reason = f"witness '{item.statement.witness}' may not attest '{item.statement.scope}'"
                findings.warn_document(self._paths[item.document], "predicate.scope", reason)
        if self._witness and self._config.trust.organisation is None:
            reason = "is not given, so no witness is known to be independent of this gateway"
            findings.warn_config(("trust", "organisation"), reason)

    def _held_manifest(self, model: Model) -> HeldManifest | None:
        signature = self._manifests.get(model.id)
        if signature is None:
            return None
        document = signature.signed.document.digest
        return HeldManifest(document, signature.digest == model.digest, signature.signed.revoked)

    def _word(self, held: Held[WitnessStatement], model: Model, provider: Provider) -> WitnessWord:
        witness = self._parties.witnesses[held.statement.witness]
        return WitnessWord(
            held,
            organisation=witness.organisation if self._independent(witness, model, provider) else None,
            about_this=held.statement.digest == model.digest,
            in_scope=held.statement.scope in witness.scopes,
        )

    def _independent(self, witness: Party, model: Model, provider: Provider) -> bool:
        """Of the provider and of this gateway's operator, who must be known; of the publisher as far as known."""
        publisher = self._parties.publishers.get(model.publisher or "")
        operators = (provider.origin.organisation, self._config.trust.organisation)
        makers = (model.origin.organisation, publisher.organisation if publisher is not None else None)
        keys = {
            party.key for party in (publisher, self._parties.providers.get(provider.id)) if party is not None
        }
        return (
            witness.organisation is not None
            and None not in operators
            and witness.organisation not in (*operators, *makers)
            and witness.key not in keys
        )
