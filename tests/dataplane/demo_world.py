"""The demo as a user has it: `sovereign up` on a state directory, and what one does with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil

SOVEREIGN = (sys.executable, "-m", "sovereign_ext.cli.main")
HELLO = [{"role": "user", "content": "Hello!"}]


def sovereign(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SOVEREIGN, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )


@dataclass(frozen=True)
class Gateway:
    """One state directory and the port to use with it."""

    state_dir: Path
    port: int
    banner: str = ""

    def up(self) -> subprocess.CompletedProcess[str]:
        return sovereign("up", "--state-dir", self.state_dir, "--port", self.port, "--detach")

    def down(self) -> subprocess.CompletedProcess[str]:
        return sovereign("down", "--state-dir", self.state_dir)

    def status(self) -> dict:
        return json.loads(sovereign("status", "--json", "--state-dir", self.state_dir).stdout)

    def env(self) -> dict[str, str]:
        lines = (self.state_dir / "demo.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def client(self) -> openai.OpenAI:
        env = self.env()
        return openai.OpenAI(base_url=env["SF_BASE_URL"], api_key=env["SF_API_KEY"], max_retries=0)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.pid("supervisor"))
        return [supervisor, *supervisor.children(recursive=True)]

    def pid(self, name: str) -> int:
        return next(each["pid"] for each in self.status()["processes"] if each["name"] == name)

    def receipt(self, index: int) -> dict:
        env = self.env()
        url = env["SF_BASE_URL"].removesuffix("/v1") + f"/sf/v1/receipts/{index}"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {env['SF_API_KEY']}"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)


def assert_gone(processes: list[psutil.Process], within_s: float = 20.0) -> None:
    """None of them runs any more; a zombie that a container's init has not reaped yet has ended too."""
    deadline = time.monotonic() + within_s
    for process in processes:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, process
            time.sleep(0.02)
