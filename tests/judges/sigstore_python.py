"""Judges a receipt's bundle with sigstore-python's own parts; run in the judges' environment.

Usage: sigstore_python.py RECEIPT TRUSTED_ROOT ENVELOPE_KEY_PEM. sigstore-python verifies whole bundles only
when a certificate signed them, so this calls what it is made of: models, keyring, checkpoint, Merkle and DSSE
verification.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sigstore import dsse
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import KeyringPurpose
from sigstore.errors import Error
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.bundle.v1 import Bundle
from sigstore_models.rekor.v2.entry import Entry


def judge(receipt: str, root: str, key: str) -> None:
    bundle = Bundle.from_json(json.dumps(json.loads(Path(receipt).read_bytes())["bundle"]))
    entry = TransparencyLogEntry(bundle.verification_material.tlog_entries[0])
    keyring = TrustedRoot.from_file(root).rekor_keyring(KeyringPurpose.VERIFY)
    verify_checkpoint(keyring, entry)
    verify_merkle_inclusion(entry)
    envelope = dsse.Envelope(bundle.dsse_envelope)
    dsse._verify(load_pem_public_key(Path(key).read_bytes()), envelope)
    dsse.Statement(envelope._inner.payload)
    body = Entry.from_json(entry._inner.canonicalized_body).spec.hashed_rekord_v002
    if body.data.digest != hashlib.sha256(envelope.pae()).digest():
        raise Error(f"entry digest {base64.b64encode(body.data.digest)!r} is not of this envelope")
    if body.signature.content != envelope.signature:
        raise Error("entry has another signature than the envelope")


try:
    judge(*sys.argv[1:])
except Error as error:
    print(f"refused: {type(error).__name__}: {error}")
    sys.exit(1)
print("verified")
