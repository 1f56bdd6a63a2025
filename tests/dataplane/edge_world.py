"""A gateway whose Envoy runs on what `sovereign envoy render` wrote, not on the processor's own bootstrap."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import mesh_envoy
import openai
import pytest
import wire
import yaml
from openai import OpenAI
from own_envoy import own_bootstrap
from stack import HELLO, SAID, ConfigFile, Stack, eventually

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.cli.supervise.stack import envoy_binary

_BOOTSTRAPS = {
    "snippet": "mine.yaml",
    "xds": "bootstrap.yaml",
    "istio": "proxy/bootstrap.yaml",
    "envoy-gateway": "proxy/bootstrap.yaml",
}


def converse(client: OpenAI) -> None:
    """JSON, a stream, embeddings and an error, as an application would see them."""
    made = client.chat.completions.create(model="chat", messages=HELLO)
    assert made.choices[0].message.content == SAID
    assert made.model_extra["_sf_attestation"]["rekor_index"] >= 0
    chunks = list(client.chat.completions.create(model="chat", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(client.embeddings.create(model="embed", input="x").data[0].embedding) > 0
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


class EdgeStack(Stack):
    """``mode`` and ``options`` go to `sovereign envoy render`; ``roots`` is the file that clients trust. ``binary`` is
    another Envoy than ours."""

    def __init__(
        self,
        config: ConfigFile,
        mode: str,
        *options: str,
        roots: Path | None = None,
        binary: Path | None = None,
        **more: Any,
    ) -> None:
        super().__init__(config, **more)
        self.bootstrap = _BOOTSTRAPS.get(mode, f"{mode}.yaml")
        self.mode = mode
        self.roots = roots
        self.shared = self.root / "shared"
        self.access_log = self.root / "access.log"
        self.rendered = self.root / "rendered"
        self._options = options
        argv = self.processor._argv
        at = argv.index("--listen-port")
        self.processor._argv = [*argv[:at], *argv[at + 2 :], "--envoy-dir", str(self.shared)]
        self.envoy._argv = [
            *(str(binary or envoy_binary()), "-c", str(self.rendered / self.bootstrap)),
            *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
            *("--drain-time-s", "5"),
        ]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.roots else f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.render()
        super().start()

    def render(self) -> None:
        """What Envoy is started on."""
        argv = [
            *("envoy", "render", "--mode", self.mode, "--config", str(self.config_file)),
            *("--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir)),
            *("--envoy-dir", str(self.shared), "--listen", f"127.0.0.1:{self.port}"),
            *("--access-log", str(self.access_log), "--out", str(self.rendered), *self._options),
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            assert sovereign(argv) == 0
        if self.mode == "snippet":
            pieces = yaml.safe_load((self.rendered / "snippet.yaml").read_text())
            admin = str(self.run_dir / "envoy-admin.sock")
            mine = own_bootstrap(pieces, port=self.port, admin=admin)
            (self.rendered / self.bootstrap).write_text(yaml.safe_dump(mine))
        elif self.mode in ("istio", "envoy-gateway"):
            proxy = self.rendered / "proxy"
            proxy.mkdir()
            mesh_envoy.dynamic(mesh_envoy.read(self.rendered), proxy)
        elif self.mode == "kgateway":
            at = self.envoy._argv.index("-c")
            beside = mesh_envoy.beside_kgateway(mesh_envoy.read(self.rendered), self.rendered)
            self.envoy._argv[at : at + 2] = beside

    def trust(self) -> ssl.SSLContext:
        """What clients believe us by."""
        return ssl.create_default_context(cafile=self.roots)

    def client(self, **options: Any) -> httpx.Client:
        """A client that trusts us."""
        return httpx.Client(**({"base_url": self.url, "verify": self.trust(), "timeout": 20} | options))

    def certificate_name(self) -> str:
        """Whose certificate a new connection is shown."""
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            self.trust().wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            subject = dict(each[0] for each in secured.getpeercert()["subject"])
            return str(subject["commonName"])

    def models(self) -> wire.Reply:
        with self.client() as client:
            try:
                headers = {"authorization": f"Bearer {self.config.key}"}
                return wire.Reply(client.get("/v1/models", headers=headers).status_code, {}, b"")
            except httpx.TransportError as error:
                raise OSError(str(error)) from None

    def admin(self, path: str, method: str = "GET") -> str:
        """Envoy's admin, on its Unix socket."""
        transport = httpx.HTTPTransport(uds=str(self.run_dir / "envoy-admin.sock"))
        with httpx.Client(transport=transport, base_url="http://envoy") as client:
            return client.request(method, path).text

    def stat(self, name: str) -> int:
        """A counter or gauge."""
        for line in self.admin(f"/stats?filter=^{name.replace('.', '[.]')}$").splitlines():
            return int(line.rpartition(":")[2])
        return 0

    def logged(self, wanted: Any) -> dict[str, Any]:
        """The first entry of the access log for which ``wanted`` holds; Envoy writes them a little later."""

        def look() -> dict[str, Any] | None:
            if not self.access_log.exists():
                return None
            entries = [json.loads(line) for line in self.access_log.read_text().splitlines()]
            return next((each for each in entries if wanted(each)), None)

        self.envoy.send(signal.SIGUSR1)  # reopens its logs, which writes what is held
        return eventually(look, "an entry in the access log")
