"""A writer that is killed leaves the old file or the new one, and nobody waits for its lock."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keystore_world import Clock

from sovereign_ext.keystore.local import LocalFile
from sovereign_ext.keystore.masterkey import KeyFromEnvironment

pytestmark = pytest.mark.services

ROUNDS = 12


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL while it rotates: what is found is one whole version, never older than the one known to be durable."""
    path = tmp_path / "keys.json"
    environ = {"MASTER": base64.b64encode(os.urandom(32)).decode()}
    chance = random.Random(4)
    last = 0
    for _ in range(ROUNDS):
        writer = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("rotating_writer.py")), str(path)],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        try:
            first = int(writer.stdout.readline())  # it is at work; the version before is durable
            assert first == last + 1
            time.sleep(chance.random() * 0.02)  # the moment of the kill, not a synchronisation
        finally:
            writer.send_signal(signal.SIGKILL)
            told = [first, *map(int, writer.communicate()[0].split())]
        local = LocalFile(path, [KeyFromEnvironment("MASTER", environ)], Clock())
        secret = asyncio.run(local.find("acme", "p"))
        version = 0 if secret is None else int(secret.reveal().split("-")[1])
        assert version in (told[-1] - 1, told[-1])
        last = version
    assert last > 0
    left = {each.name for each in tmp_path.iterdir()} - {"keys.json", ".keys.json.lock"}
    assert len(left) <= 1  # what the last one did not finish; the next writer takes it away
