"""Go's implementation reads a live log of ours from its directory, as any C2SP client would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from log_world import fill, opened

from sovereign_ext.tlog.checkpoint import open_checkpoint

pytestmark = pytest.mark.services


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_go_verifies_a_live_log(size: int, tmp_path: Path, go_judge: Any) -> None:
    """Go opens the checkpoint with our verifier key and proves entries, read from bundles, by our tiles."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            await fill(log, size)
            await log.receipt(size - 1, None, 10)
            key = log.public_keys.log
            indices = sorted({0, size // 2, size - 1, min(255, size - 1)})
            result = go_judge("log", str(tmp_path / "tiles"), key.encode(), *map(str, indices))
            assert result.returncode == 0, result.stderr
            note = log.reader.checkpoint()
            assert note is not None
            checkpoint, _ = open_checkpoint(note, log.origin, [key])
            assert checkpoint.size == size
            assert result.stdout.startswith(f"{size} ")

    asyncio.run(scenario())


def test_go_refuses_a_damaged_log(tmp_path: Path, go_judge: Any) -> None:
    """The judge judges: a changed entry, tile or checkpoint does not pass."""

    async def scenario() -> str:
        async with opened(tmp_path) as log:
            await fill(log, 300)
        return log.public_keys.log.encode()

    key = asyncio.run(scenario())
    tiles = tmp_path / "tiles"
    assert go_judge("log", str(tiles), key, "3", "299").returncode == 0
    for name, at in (("tile/entries/000", 1000), ("tile/0/000", 100), ("checkpoint", 22)):
        path = tiles / name
        good = path.read_bytes()
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        result = go_judge("log", str(tiles), key, *map(str, range(8)))
        assert result.returncode == 1, name
        path.write_bytes(good)
