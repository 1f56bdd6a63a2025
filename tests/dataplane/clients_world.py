"""Running the JavaScript clients of ``tests/judges/node-clients`` against a stack."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from stack import Stack

CLIENTS = Path(__file__).parents[1] / "judges" / "node-clients"


def javascript(stack: Stack, scenario: str, *, key: str | None = None, **headers: str) -> dict[str, Any]:
    """What the client of ``scenario`` saw: ``{"result": …}`` or what it raised. The key is not in argv."""
    node = CLIENTS / "node_modules" / "node" / "bin" / "node"
    if not node.exists():
        pytest.fail(
            f"the JavaScript clients are not installed: run `npm ci` in {CLIENTS.relative_to(Path.cwd())}"
        )
    done = subprocess.run(
        [str(node), str(CLIENTS / "clients.mjs"), scenario],
        env={
            "PATH": os.environ["PATH"],
            "GATEWAY_URL": f"http://127.0.0.1:{stack.port}/v1",
            "GATEWAY_KEY": stack.config.key if key is None else key,
            "GATEWAY_HEADERS": json.dumps(headers),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
