"""LiteLLM's proxy as a side: one model, one worker, its own environment (.venv-peers), nothing fetched or reported.

It gets a master key, so that it authenticates callers as the gateway does, and no database. Its environment is made
from scratch: no credentials of whoever runs this. Deliberately not here: any tuning beyond what its documentation
asks of a production set-up (log level ERROR, production mode).
"""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from bench.children import BenchError, Children
from bench.meter import Meter
from bench.side import UPSTREAM_MODEL, Mock, Side
from sovereign_ext.cli.supervise.probe import free_ports

NAME = "LiteLLM"
PROXY = "proxy"
_VENV = Path(".venv-peers")
_START_S = 90.0  # it imports for many seconds


class Unavailable(BenchError):
    """It cannot be measured here; the text says why."""


def version() -> str:
    """The installed version. Raises ``Unavailable`` when there is none."""
    if not (_VENV / ".stamp").is_file():
        raise Unavailable(f"It is not installed in {_VENV}: `scripts/setup.sh peers` says why")
    code = "from importlib.metadata import version; print(version('litellm'))"
    done = subprocess.run(
        [_VENV / "bin" / "python", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise Unavailable(
            f"The environment {_VENV} cannot be used: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        )
    return done.stdout.strip()


def start(children: Children, directory: Path, upstream: Mock) -> Side:
    """Run it in front of the mock. Raises ``Unavailable`` with its last words when it does not come up."""
    port, key = free_ports(1)[0], f"sk-{secrets.token_urlsafe(24)}"
    home = directory / "litellm"
    home.mkdir()
    config = home / "config.yaml"
    config.write_text(json.dumps(_config(upstream.port)))  # JSON is YAML
    argv = [str((_VENV / "bin" / "litellm").absolute()), "--config", str(config), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    child = children.start(NAME, argv, home / "output.log", environ=_environ(home, key))
    try:
        child.wait_until(lambda: _answers(port, key), "it answered a chat call", _START_S)
    except Unavailable:
        raise
    except BenchError as error:
        raise Unavailable(str(error)) from None
    return Side(NAME, port, key, UPSTREAM_MODEL, {PROXY: Meter(child.pid)}, expect='"choices"')


def _config(upstream_port: int) -> dict[str, object]:
    model = {
        "model": f"openai/{UPSTREAM_MODEL}",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "sk-bench",
    }
    return {
        "model_list": [{"model_name": UPSTREAM_MODEL, "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "set_verbose": False},
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }


def _environ(home: Path, key: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "LITELLM_MASTER_KEY": key,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "*",
    }


def _answers(port: int, key: str) -> bool:
    body = json.dumps({"model": UPSTREAM_MODEL, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        if error.code in (404, 503):
            return False  # it is still setting itself up
        raise BenchError(
            f"LiteLLM answers {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except OSError:
        return False
