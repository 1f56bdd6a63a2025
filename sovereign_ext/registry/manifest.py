"""A model's signed manifest: the OpenSSF model signature, as the ``model-signing`` package 1.x makes and reads it.

https://github.com/sigstore/model-transparency. A Sigstore bundle v0.3 with a public key's hint and a DSSE envelope;
its payload is an in-toto statement with the digest of every file. The model's digest, called root digest, is the
SHA-256 over the files' digests one after the other, in the order of their paths' components. Keys are ECDSA P-256,
since the package signs with nothing that this project's other documents use besides. Not here: signatures by
certificate (Sigstore keyless), the package's format before 1.0, and reading a model's files (``cli.model`` does).
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sovereign_ext.attest import dsse
from sovereign_ext.attest.statement import STATEMENT_TYPE
from sovereign_ext.errors import StatementError, VerificationError
from sovereign_ext.registry.envelope import PrivateKey, PublicKey, envelope_of, public_half, verify
from sovereign_ext.registry.fields import HEX_DIGEST, HEX_SHA256, Fields, read_json

PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
IGNORED: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What the package leaves out of every model by default, besides the signature itself."""

MAX_RESOURCES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Resource:
    """A file of a model, or a shard of one (``path:start:end``). ``digest`` is lower-case hex."""

    name: str
    digest: str
    algorithm: str = "sha256"


@dataclass(frozen=True, slots=True)
class Serialization:
    """How the files were listed. ``shard_size`` (bytes) is there with method ``shards`` only."""

    method: str = "files"
    hash_type: str = "sha256"
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = IGNORED
    shard_size: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a publisher signed. ``digest`` is ``sha256:`` and the hex root digest."""

    name: str
    digest: str
    resources: tuple[Resource, ...]
    serialization: Serialization = Serialization()


def root_digest(resources: Iterable[Resource]) -> str:
    """``sha256:`` and the hex SHA-256 over the resources' digests, in the order given."""
    hasher = hashlib.sha256()
    for resource in resources:
        hasher.update(bytes.fromhex(resource.digest))
    return "sha256:" + hasher.hexdigest()


def manifest_of(
    name: str, files: Iterable[Resource], serialization: Serialization = Serialization()
) -> Manifest:
    """The manifest of a model from its files in any order."""
    order = _file_order if serialization.shard_size is None else _shard_order
    resources = tuple(sorted(files, key=lambda resource: order(resource.name)))
    return Manifest(name, root_digest(resources), resources, serialization)


def _file_order(name: str) -> tuple[tuple[str, ...], int, int]:
    """By component, so ``a/b`` comes before ``a.b``. ``.`` (a model that is one file) has none."""
    return tuple(part for part in name.split("/") if part not in ("", ".")), 0, 0


def _shard_order(name: str) -> tuple[tuple[str, ...], int, int]:
    """``path:start:end``, by path and then by place in the file."""
    path, start, end = name.rsplit(":", 2)
    return _file_order(path)[0], int(start), int(end)


def sign_manifest(manifest: Manifest, key: PrivateKey) -> bytes:
    """The bundle's JSON. Raises ``VerificationError`` for a key that ``model-signing`` could not verify with."""
    public = public_half(key)
    if isinstance(key, Ed25519PrivateKey):
        raise VerificationError("model signatures take an ECDSA P-256 key: model-signing knows no Ed25519")
    payload = json.dumps(_statement(manifest), indent=2).encode()
    signature = dsse.sign(key, dsse.pae(payload))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": public.model_signing_hint},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": b64encode(payload).decode(),
            "payloadType": dsse.PAYLOAD_TYPE,
            "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def verify_manifest(raw: bytes, key: PublicKey) -> Manifest:
    """The manifest in a bundle, once its signature by ``key`` is checked.

    Raises ``StatementError`` for a bundle or payload of another form or a root digest that is not the resources',
    ``VerificationError`` for a signature by another key.
    """
    hint, envelope = _read_bundle(raw)
    if not key.is_ecdsa:
        raise VerificationError("the publisher's key is Ed25519; model-signing knows ECDSA only")
    if hint not in ("", key.model_signing_hint):
        raise VerificationError("the bundle names another key than the publisher's")
    verify(envelope, key)
    return parse_manifest(envelope.payload)


def bundle_payload(raw: bytes) -> bytes:
    """What a bundle's signature covers, unchecked. Raises ``StatementError``."""
    return _read_bundle(raw)[1].payload


def _read_bundle(raw: bytes) -> tuple[str, dsse.Envelope]:
    fields = Fields(read_json(raw))
    fields.exactly("mediaType", BUNDLE_TYPE)
    material = Fields(fields.take("verificationMaterial"), "verificationMaterial")
    if not material.has("publicKey"):
        raise StatementError(
            "names no public key; only signatures by a key are known here", "verificationMaterial"
        )
    hint = _hint(material.take("publicKey"))
    for name in ("tlogEntries", "timestampVerificationData"):
        if material.has(name):
            material.take(name)  # adds nothing to a signature by a key that is already trusted
    material.done()
    envelope = envelope_of(fields.take("dsseEnvelope"), "dsseEnvelope")
    fields.done()
    return hint, envelope


def parse_manifest(payload: bytes) -> Manifest:
    """The payload of a model signature. Members that v1.0 does not name are passed over, as it asks."""
    fields = Fields(read_json(payload, fractions=True))
    fields.exactly("_type", STATEMENT_TYPE)
    fields.exactly("predicateType", PREDICATE_TYPE)
    subjects = fields.items("subject", most=1)
    subject = Fields(subjects[0][1], subjects[0][0])
    name = subject.take("name") if subject.has("name") else ""
    if not isinstance(name, str):
        raise StatementError("expected text", subject.path("name"))
    claimed = Fields(subject.take("digest"), subject.path("digest")).text("sha256", HEX_SHA256)
    predicate = Fields(fields.take("predicate"), "predicate")
    serialization = _serialization(Fields(predicate.take("serialization"), "predicate.serialization"))
    listed = predicate.items("resources", least=0, most=MAX_RESOURCES) if predicate.has("resources") else []
    resources = tuple(_resource(at, item) for at, item in listed)
    if len({resource.name for resource in resources}) != len(resources):
        raise StatementError("names a file twice", "predicate.resources")
    digest = root_digest(resources)
    if digest != f"sha256:{claimed}":
        raise StatementError(f"is not the root digest of the files, which is {digest}", "subject[0].digest")
    return Manifest(name, digest, resources, serialization)


def differences(expected: Manifest, actual: Manifest) -> tuple[str, ...]:
    """How a model's files differ from what was signed, one line each; the name does not count."""
    signed = {resource.name: resource.digest for resource in expected.resources}
    found = {resource.name: resource.digest for resource in actual.resources}
    lines = [f"{name}: missing" for name in signed if name not in found]
    lines += [f"{name}: not signed" for name in found if name not in signed]
    lines += [
        f"{name}: has another content" for name in signed if found.get(name, signed[name]) != signed[name]
    ]
    return tuple(sorted(lines))


def _hint(value: object) -> str:
    # Before 1.0 the key itself stood here; it proves nothing, the hint is all that is compared.
    fields = Fields(value, "verificationMaterial.publicKey")
    hint = fields.text("hint") if fields.has("hint") else ""
    for name in ("rawBytes", "keyDetails"):
        if fields.has(name):
            fields.take(name)
    fields.done()
    return hint


def _resource(at: str, item: object) -> Resource:
    fields = Fields(item, at)
    return Resource(
        name=fields.text("name", most=10_000),
        digest=fields.text("digest", HEX_DIGEST),
        algorithm=fields.text("algorithm", most=100),
    )


def _serialization(fields: Fields) -> Serialization:
    method = fields.text("method", most=100)
    if method not in ("files", "shards"):
        raise StatementError("expected files or shards", fields.path("method"))
    hash_type = fields.text("hash_type", most=100)
    allow_symlinks = fields.take("allow_symlinks") if fields.has("allow_symlinks") else False
    if not isinstance(allow_symlinks, bool):
        raise StatementError("expected true or false", fields.path("allow_symlinks"))
    shard_size = _whole(fields, "shard_size") if method == "shards" else None
    listed = fields.items("ignore_paths", least=0, most=MAX_RESOURCES) if fields.has("ignore_paths") else []
    ignored = []
    for at, item in listed:
        if not isinstance(item, str):
            raise StatementError("expected text", at)
        ignored.append(item)
    return Serialization(method, hash_type, allow_symlinks, tuple(ignored), shard_size)


def _whole(fields: Fields, name: str) -> int:
    # protobuf, through which model-signing writes, has no whole numbers: it says 1000000000.0.
    value = fields.take(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return Fields({name: value}, fields.at).number(name, 1, 2**53)


def _statement(manifest: Manifest) -> dict[str, Any]:
    how = manifest.serialization
    serialization: dict[str, Any] = {
        "method": how.method,
        "hash_type": how.hash_type,
        "allow_symlinks": how.allow_symlinks,
    }
    if how.shard_size is not None:
        serialization["shard_size"] = how.shard_size
    if how.ignore_paths:
        serialization["ignore_paths"] = list(how.ignore_paths)
    resources: Sequence[dict[str, str]] = [
        {"name": item.name, "algorithm": item.algorithm, "digest": item.digest} for item in manifest.resources
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.name, "digest": {"sha256": manifest.digest[7:]}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": serialization, "resources": resources},
    }
