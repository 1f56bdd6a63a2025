"""Key events: which keys a log was begun with, as entries of the log itself.

A later reader sees from when a key was in use, and a change of keys cannot be kept quiet. Rotation has its events
in ``facts``, but nothing makes them yet.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.attest.facts import KeyEvent, KeyEventFacts, KeyRole
from sovereign_ext.attest.keys import PublicKeys, key_hint


def created(keys: PublicKeys, at_ms: int) -> tuple[KeyEventFacts, ...]:
    """One event for each key of a log. ``at_ms`` is Unix milliseconds."""
    log = Ed25519PublicKey.from_public_bytes(keys.log.public_key)
    spki = log.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (
        KeyEventFacts(KeyEvent.CREATED, KeyRole.LOG, b64encode(keys.log.log_id).decode(), spki, at_ms),
        KeyEventFacts(KeyEvent.CREATED, KeyRole.ENVELOPE, key_hint(keys.envelope), keys.envelope, at_ms),
        KeyEventFacts(KeyEvent.CREATED, KeyRole.PROMISE, key_hint(keys.promise), keys.promise, at_ms),
    )


def event_id(facts: KeyEventFacts) -> str:
    """What stands in place of a decision id, so that an event is one entry however often it is written."""
    return f"{facts.event.value}-{facts.role.value}-{sha256(facts.spki).hexdigest()}"
