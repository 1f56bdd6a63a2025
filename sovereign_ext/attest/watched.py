"""Others' word on the log in a receipt: cosignatures of log witnesses and mirrors, anchors in external logs.

Each function is a step of ``verify``: it says what it found, raises ``VerificationError`` when that is not what it
must be, and ``SkippedError`` without keys to judge by. A mirror's word is about the tree that it signed; unless that
is of the receipt's size, one would need a consistency proof to see that both are one tree.
"""

from __future__ import annotations

from sovereign_ext.attest.anchors import verify_anchor
from sovereign_ext.attest.receipt_form import Receipt
from sovereign_ext.attest.report import SkippedError, TrustedKeys
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.cosignature import CosignerKey, MirrorAck, find_cosignature, verify_ack
from sovereign_ext.tlog.note import Verifier, parse_note


def cosignatures(receipt: Receipt, log: Verifier, keys: TrustedKeys) -> str:
    """The quorum has cosigned the receipt's checkpoint, and every further key has too or has signed, as a mirror, a
    checkpoint of its own that covers the entry."""
    members = [] if keys.quorum is None else [witness.key for witness in keys.quorum.witnesses]
    everybody = dict.fromkeys((*members, *keys.cosigners))
    if keys.quorum is None and not everybody:
        raise SkippedError("no keys of log witnesses or mirrors were given")
    note = parse_note(receipt.checkpoint)
    said: list[str] = []
    signed: list[CosignerKey] = []
    for key in everybody:
        if (found := find_cosignature(note, key)) is not None:
            signed.append(key)
            said.append(f"{key.name} cosigned size {receipt.tree_size} at {found[1].time_s} s")
    if keys.quorum is not None and not keys.quorum.met(signed):
        raise VerificationError(
            f"the quorum has not signed this checkpoint; {'; '.join(said) or 'nobody has'}"
        )
    for key in everybody:
        for ack in receipt.mirrors:
            if ack.name == key.name and find_cosignature(parse_note(ack.note), key) is not None:
                said.append(_holds(receipt, log, key, ack))
                signed.append(key)
    if missing := [key.name for key in keys.cosigners if key not in signed]:
        raise VerificationError(f"nothing in the receipt is signed by {', '.join(missing)} (yet)")
    return "; ".join(said) or "the quorum needs nobody"


def anchors(receipt: Receipt, log: Verifier, keys: TrustedKeys) -> str:
    """Every external log whose key was given holds a checkpoint of the receipt's tree."""
    if not keys.anchors:
        raise SkippedError("no keys of external logs were given")
    tree = open_checkpoint(receipt.checkpoint, log.name, [log])[0]
    found = {anchor.id: anchor for anchor in receipt.anchors}
    said = []
    for name, key in keys.anchors.items():
        if name not in found:
            raise VerificationError(f"the receipt has no anchor {name!r} (yet)")
        anchored = verify_anchor(found[name], [key], log, tree)
        if anchored.size <= receipt.index:
            raise VerificationError(
                f"anchor {name} covers {anchored.size} entries, this one is not among them"
            )
        said.append(f"{name} holds the checkpoint of size {anchored.size}")
    return "; ".join(said)


def _holds(receipt: Receipt, log: Verifier, key: CosignerKey, ack: MirrorAck) -> str:
    checkpoint, verified = verify_ack(ack.note, log, key)
    _covers(receipt, checkpoint, key.name)
    return f"{key.name} holds {verified.size} entries since {verified.time_s} s"


def _covers(receipt: Receipt, checkpoint: Checkpoint, name: str) -> None:
    if checkpoint.size <= receipt.index:
        raise VerificationError(f"{name} holds {checkpoint.size} entries, this one is not among them")
    if checkpoint.size == receipt.tree_size and checkpoint.root != receipt.root:
        raise VerificationError(f"{name} signed another tree of size {checkpoint.size}: the log has forked")
