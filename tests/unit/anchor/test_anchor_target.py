"""The external logs of a configuration: keys and authorities are read, faults named with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest
from anchor_world import private_key
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rekor_server import Rekor

from sovereign_ext.anchor.target import targets
from sovereign_ext.config.trust import Anchor
from sovereign_ext.errors import ConfigErrors

CA = Path(certifi.where()).read_text()
P384 = ec.generate_private_key(ec.SECP384R1()).public_key()
FILES = {
    "ed.pem": Rekor(private_key("ed25519")).pem,
    "p256.pem": Rekor(private_key("p256")).pem,
    "p384.pem": P384.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "ca.pem": CA[: CA.index("-----END CERTIFICATE-----") + 26].encode(),
    "text": b"hello",
}


def anchor(**settings: Any) -> Anchor:
    return Anchor.model_validate(
        {"id": "a", "url": "https://rekor.example", "key_file": "ed.pem", **settings}
    )


def test_targets_carry_what_the_client_needs() -> None:
    """Both kinds, both key types, an authority of one's own."""
    found = targets(
        [
            anchor(ca_file="ca.pem", origin="rekor.example"),
            anchor(id="b", kind="rekor-v1", key_file="p256.pem"),
        ],
        FILES.__getitem__,
    )
    assert [(t.id, t.kind, t.every_s, t.origin) for t in found] == [
        ("a", "rekor-v2", 600, "rekor.example"),
        ("b", "rekor-v1", 600, None),
    ]
    assert found[0].key.spki == Rekor(private_key("ed25519")).spki
    assert (found[0].roots, found[1].roots) == (FILES["ca.pem"], None)


@pytest.mark.parametrize(
    ("settings", "field", "reason"),
    [
        ({"key_file": "text"}, "log.anchors[1].key_file", "not a PEM public key"),
        ({"key_file": "p384.pem"}, "log.anchors[1].key_file", "Ed25519 or ECDSA P-256"),
        ({"ca_file": "text"}, "log.anchors[1].ca_file", "holds no PEM certificate"),
        ({"id": "first"}, "log.anchors[1].id", "the id of an earlier anchor"),
    ],
)
def test_faults_have_their_place(settings: dict[str, Any], field: str, reason: str) -> None:
    """Nothing half-usable comes out."""
    with pytest.raises(ConfigErrors, match=reason) as refused:
        targets([anchor(id="first"), anchor(**settings)], FILES.__getitem__)
    assert [fault.field for fault in refused.value.faults] == [field]
