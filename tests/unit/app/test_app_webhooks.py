"""The processor's own wiring of webhooks: what is found is told, changes of the file count, and faults stop a start."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_app_anchors import PATIENCE_S, _log
from webhook_receiver import Receiver, new_secret

from sovereign_ext.app import Processor
from sovereign_ext.errors import ConfigError
from sovereign_ext.settings import Settings
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

sys.path.append(str(Path(__file__).parents[1] / "webhook"))
sys.path.append(str(Path(__file__).parents[1] / "evidence"))
from webhook_world import draft

pytestmark = pytest.mark.services
ADMIN = mint(KeyKind.ADMIN, bytes(32)).reveal()


def write(file: Path, *webhooks: Mapping[str, Any], models: tuple[str, ...] = ()) -> None:
    document = {
        "version": 1,
        "origin": "sovereign.test/webhooks",
        "admins": [{"id": "root", "keys": [{"id": "one", "hash": hash_key(ADMIN)}]}],
        "findings": {"webhooks": list(webhooks)},
        "models": [{"id": name} for name in models],
    }
    file.with_suffix(".tmp").write_text(yaml.safe_dump(document))
    file.with_suffix(".tmp").replace(file)


def settings(root: Path) -> Settings:
    (root / "run").mkdir(exist_ok=True)
    return Settings(root / "sovereign.yaml", root / "state", root / "run", "127.0.0.1", 8080)


def test_receivers_follow_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One is added, secrets are changed, both in use without a restart; the state of the log says how they are."""
    caplog.set_level(logging.DEBUG, "sovereign_ext")
    old, new = new_secret(), new_secret()
    here = settings(tmp_path)
    (tmp_path / "old").write_text(old + "\n")
    (tmp_path / "new").write_text(new + "\n")

    async def play(receiver: Receiver) -> None:
        siem = {"id": "siem", "url": receiver.url, "secrets": [{"file": "old"}]}
        processor = Processor(here, {})
        await processor.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await processor._transparency.append(draft())
                assert not (await _log(here, ADMIN)).webhooks
                write(here.config_file, siem)
                while not (await _log(here, ADMIN)).webhooks:
                    await asyncio.sleep(0.01)
                first = (await processor._transparency.append(draft())).index
                (got,) = await asyncio.to_thread(receiver.wait, 1)
                assert (got.index, got.signed_by(old), got.signed_by(new)) == (first, True, False)
                write(here.config_file, {**siem, "secrets": [{"file": "old"}, {"file": "new"}]})
                while processor._live.snapshot.version < 3:
                    await asyncio.sleep(0.01)
                await processor._transparency.append(draft())
                _, got = await asyncio.to_thread(receiver.wait, 2)
                assert (got.signed_by(old), got.signed_by(new)) == (True, True)
                (tmp_path / "old").write_text("not a secret")  # read again for each event
                await processor._transparency.append(draft())
                while not (webhook := (await _log(here, ADMIN)).webhooks[0]).last_error:
                    await asyncio.sleep(0.01)
                assert "findings.webhooks[0].secrets[0]: does not begin with whsec_" in webhook.last_error
                assert (webhook.delivered, webhook.waiting) == (2, 1)
                both = {**siem, "secrets": [{"file": "old"}, {"file": "new"}]}
                write(here.config_file, both, models=("m",))  # other changes do not wait for its secret
                while "m" not in processor._live.snapshot.models:
                    await asyncio.sleep(0.01)
                write(here.config_file, {**siem, "secrets": [{"file": "gone"}]})
                while not processor._live.faults:
                    await asyncio.sleep(0.01)
                write(here.config_file, {**siem, "secrets": [{"file": "new"}]})
                got = (await asyncio.to_thread(receiver.wait, 3))[2]
                assert (got.signed_by(old), got.signed_by(new)) == (False, True)
        finally:
            await processor.stop()

    with Receiver() as receiver:
        write(here.config_file)
        asyncio.run(play(receiver))
    for text in (old, new, receiver.url):
        assert text not in caplog.text
        assert all(
            text.encode() not in path.read_bytes()
            for path in (tmp_path / "state").rglob("*")
            if path.is_file()
        )


def test_a_secret_that_cannot_be_read_stops_a_start(tmp_path: Path) -> None:
    """A control that silently does not work is worse than a gateway that says why it does not start."""
    here = settings(tmp_path)
    write(here.config_file, {"id": "siem", "url": "https://siem.test/h", "secrets": [{"env": "NOT_SET"}]})

    async def play() -> None:
        with pytest.raises(ConfigError, match=r"findings\.webhooks\[0\]\.secrets\[0\]\.env"):
            await Processor(here, {}).start()

    asyncio.run(play())
