"""Sigstore's own servers take what we submit, and what they answer is believed: rekor-tiles and Rekor v1 as they are.

They also judge the test server: the answers of both must pass the same verification.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from anchor_world import anchored_log, artefact, submit, until
from anchor_world import target as target_of
from rekor_server import Rekor
from test_anchor_service import check

from sovereign_ext.attest.rekor import V1, V2
from sovereign_ext.errors import AnchorFailed

pytestmark = pytest.mark.services


def test_a_real_rekor_v2_includes_and_names_duplicates(real_v2: Rekor) -> None:
    """New entries get consecutive indices; the same submission again is proven out of the served tiles."""
    artefacts = [artefact(b"checkpoint %d\n" % number) for number in range(3)]
    assert [submit(real_v2, V2, each, origin=real_v2.name).index for each in artefacts] == [0, 1, 2]
    again = submit(real_v2, V2, artefacts[1], origin=real_v2.name)
    assert again.index == 1
    assert again.proof is not None
    assert again.proof.size == 3
    assert real_v2.requests[3:5] == ["POST /api/v2/log/entries", "GET /api/v2/checkpoint"]


def test_a_real_rekor_v2_refuses_a_bad_signature(real_v2: Rekor) -> None:
    """What it would not hold is an error here, with its words."""
    good = artefact()
    bad = type(good)(good.data + b"!", good.signature, good.signer)
    with pytest.raises(AnchorFailed, match=r"answered with 400: .*invalid hashedrekord request"):
        submit(real_v2, V2, bad)


def test_a_real_rekor_v1_promises_and_includes(real_v1: Rekor) -> None:
    """SET and proof verify by the key it was started with; a repetition gives the same entry."""
    artefacts = [artefact(b"checkpoint %d\n" % number) for number in range(3)]
    entries = [submit(real_v1, V1, each) for each in artefacts]
    assert [entry.index for entry in entries] == [0, 1, 2]
    assert all(entry.set_ and entry.proof and entry.integrated_s for entry in entries)
    assert submit(real_v1, V1, artefacts[0]).index == 0
    with pytest.raises(AnchorFailed, match="answered with 400"):
        submit(real_v1, V1, type(artefacts[0])(b"other", artefacts[0].signature, artefacts[0].signer))


def test_a_log_is_anchored_in_a_real_rekor_v1(tmp_path: Path, real_v1: Rekor) -> None:
    """From the published checkpoint to the receipt whose anchor verifies offline."""
    asyncio.run(_anchored(tmp_path / "log", real_v1, V1))


def test_a_log_is_anchored_in_a_real_rekor_v2(tmp_path: Path, real_v2: Rekor) -> None:
    """The same."""
    asyncio.run(_anchored(tmp_path / "log", real_v2, V2))


async def _anchored(state: Path, rekor: Rekor, kind: str) -> None:
    async with anchored_log(state, target_of(rekor, kind), entries=3) as (log, anchors):
        await until(lambda: anchors.covering(2))
        assert check(await log.receipt(1, None, 10), log, ext=rekor) == {"ext": 0}
