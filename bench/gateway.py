"""The gateway under measurement: what ``sovereign up`` starts, unchanged.

That is everything on: authentication, policy, plan with a fallback chain, attestation, and a log that is written
through (fsync) before each answer. Deliberately not here: the loads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.children import BenchError, Children
from bench.meter import Meter
from bench.side import ENVOY, PROCESSOR, START_S, Mock, Side
from sovereign_ext.cli.supervise.child import tail
from sovereign_ext.cli.supervise.probe import free_ports, get_json

_SOVEREIGN = (sys.executable, "-P", "-m", "sovereign_ext.cli.main")
_MODEL = "demo/small"
_PROVIDER = "cloud-a"  # the first of the demo's chain, a mock of kind openai


class Gateway:
    """A gateway that ``sovereign up`` runs on a fresh state directory."""

    def __init__(self, children: Children, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._port = free_ports(1)[0]
        argv = [*_SOVEREIGN, "up", "--state-dir", str(state_dir), "--port", str(self._port)]
        self._child = children.start("sovereign up", argv, state_dir.with_suffix(".log"))
        self._record = self._child.wait_until(self._serving, "it served", START_S)
        self._meters = {each["name"]: Meter(each["pid"]) for each in self._record["processes"]}
        self.concurrency = self._meters["envoy"].option("--concurrency")  # Envoy's worker threads
        ports = json.loads((state_dir / "demo-ports.json").read_text())
        self.mock = Mock(ports[_PROVIDER], self._meters["mock"])

    def side(self) -> Side:
        return Side(
            name="gateway",
            port=self._port,
            key=key_of(self.state_dir, "SF_API_KEY"),
            model=_MODEL,
            meters={ENVOY: self._meters["envoy"], PROCESSOR: self._meters["processor"]},
            expect='"_sf_attestation"',
        )

    def entries(self) -> int:
        """Calls in the transparency log."""
        key = key_of(self.state_dir, "SF_ADMIN_KEY")
        status, found = get_json(self._port, "/sf/v1/log", key)
        if status != 200:
            raise BenchError(f"the gateway's log answers {status}")
        return int(found["size"])

    def require_unharmed(self) -> None:
        """Raise ``BenchError`` if a process has ended and was started again: its figures would be lost."""
        record = self._serving() or {"processes": []}
        ours, now = (
            {each["name"]: each["pid"] for each in found["processes"]} for found in (self._record, record)
        )
        if ours != now:
            raise BenchError(f"a process of the gateway ended under load\n{self.logs()}")

    def logs(self) -> str:
        paths = sorted((self.state_dir / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{tail(path)}" for path in paths)

    def _serving(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.state_dir / "supervisor.json").read_text())
        except FileNotFoundError:
            return None
        return record if record["serving"] else None


def first_answer_s(state_dir: Path) -> float:
    """Seconds from the command ``sovereign up --detach`` on a new directory to an answered chat call."""
    port = free_ports(1)[0]
    places = ("--state-dir", str(state_dir))
    began = time.perf_counter()
    try:
        started = _sovereign("up", *places, "--port", str(port), "--detach")
        if started.returncode:
            raise BenchError(f"sovereign up failed: {started.stderr}")
        body = json.dumps({"model": _MODEL, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
        key = key_of(state_dir, "SF_API_KEY")
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            answer.read()
            return time.perf_counter() - began
    finally:
        _sovereign("down", *places)


def key_of(state_dir: Path, name: str) -> str:
    """A key of the demo from ``demo.env``."""
    lines = (state_dir / "demo.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)[name]


def _sovereign(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_SOVEREIGN, *words], capture_output=True, text=True, timeout=60, check=False)
