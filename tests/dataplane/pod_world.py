"""The chart's pod without a cluster: what Helm renders, its commands run as processes here, in Kubernetes' order.

Directories and ports of the pod become directories and ports of this machine; nothing else of the commands is changed.
What a cluster does besides (mounts, user ids, networks) is not seen here.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from helm_world import Manifest, container, one
from stack import ConfigFile, Process, eventually

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.cli.supervise.stack import envoy_binary

DIRECTORIES = (
    "/etc/sovereign/config",
    "/etc/sovereign/tls",
    "/run/sovereign",
    "/var/lib/sovereign-memory",
    "/var/lib/sovereign-shared",
    "/var/lib/sovereign",
    "/test-tls",
    "/test",
)
"""Where the pods mount something; the longer of two that begin alike comes first."""

PORTS = ("8443", "9464", "9465")
PROGRAMS = {
    "sovereign": [sys.executable, "-P", "-m", "sovereign_ext.cli.main"],
    "envoy": [str(envoy_binary())],
    "python": [sys.executable],
}


@dataclass
class Pod:
    """A pod of the rendering. ``root`` has its directories, ``shared`` is the volume of all, if there is one.

    ``environ`` has what Secrets would put into variables.
    """

    found: list[Manifest]
    config: ConfigFile
    root: Path
    shared: Path | None = None
    environ: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(PORTS, free_ports(3), strict=True)))

    def __post_init__(self) -> None:
        """What Kubernetes mounts."""
        for directory in DIRECTORIES:
            self.directory(directory).mkdir(mode=0o700, exist_ok=True)
        self._mount("/etc/sovereign/config", one(self.found, "ConfigMap"))
        self._mount("/test", one(self.found, "ConfigMap", "test"))
        now = datetime.datetime.now(datetime.UTC)
        root = make_root("roots of the cluster", now)
        made = make_server(root, "gateway", now, host="localhost")
        self.directory("/etc/sovereign/tls/tls.crt").write_bytes(made.certificate_pem)
        self.directory("/etc/sovereign/tls/tls.key").write_bytes(made.key_pem)
        self.directory("/test-tls/ca.crt").write_bytes(root.certificate_pem)

    def _mount(self, path: str, config_map: Manifest) -> None:
        for name, text in config_map["data"].items():
            self.directory(f"{path}/{name}").write_text(self.here(text), "utf-8")

    def here(self, text: str) -> str:
        """Paths and ports of the pod in a text, as they are on this machine."""
        text = re.sub("|".join(map(re.escape, DIRECTORIES)), lambda it: str(self._place(it[0])), text)
        for port, mine in self.ports.items():
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{mine}")
        return text

    def _place(self, directory: str) -> Path:
        if directory.endswith("-shared") and self.shared is not None:
            return self.shared
        return self.root / directory[1:].replace("/", "-")

    def directory(self, path: str) -> Path:
        return Path(self.here(path))

    def argv(self, command: list[str]) -> list[str]:
        program, *words = command
        return [*PROGRAMS[program], *map(self.here, words)]

    def run(self, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(command),
            env={**os.environ, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def running(self) -> Iterator[tuple[Process, Process]]:
        """Processor and Envoy, both ready. In the end what is left is killed; a failure shows what they said."""
        render = container(self.found, "render")
        done = self.run([*render["command"], *render["args"]])
        assert done.returncode == 0, done.stderr
        leash = Leash()
        leash.hold()
        processor, envoy = self._process("processor", leash), self._process("envoy", leash)
        try:
            processor.start()
            eventually(lambda: self.healthy("liveness"), "the startup probe", 30)
            envoy.start()
            eventually(lambda: self.healthy("readiness") and self.answers(), "both readiness probes", 30)
            yield processor, envoy
        except BaseException:
            for each in (processor, envoy):
                sys.stderr.write(each.log.read_text(errors="replace") if each.log.exists() else "")
            raise
        finally:
            for each in (envoy, processor):
                if each.running:
                    each.kill()
            leash.release()

    def _process(self, name: str, leash: Leash) -> Process:
        each = container(self.found, name)
        argv = self.argv([*each["command"], *each["args"]])
        environ = {**os.environ, **self.config.environ, **self.environ}
        return Process(name, argv, self.root / f"{name}.log", environ, leash)

    def healthy(self, service: str) -> bool:
        """What the kubelet's gRPC probe finds."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['9465']}") as channel:
            ask = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = ask(health_pb2.HealthCheckRequest(service=service), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def answers(self) -> bool:
        """What the kubelet's HTTPS probe finds; it believes any certificate."""
        probe = container(self.found, "envoy")["readinessProbe"]["httpGet"]
        url = f"{probe['scheme'].lower()}://127.0.0.1:{self.ports['8443']}{probe['path']}"
        try:
            return httpx.get(url, verify=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def test(self, key: str) -> subprocess.CompletedProcess[str]:
        """`helm test`, with the address and a key that its pod would be given."""
        (test,) = one(self.found, "Pod", "test")["spec"]["containers"]
        environ = {each["name"]: self.here(each.get("value", "")) for each in test["env"]}
        return self.run(test["command"], **environ | {"BASE_URL": self.url, "API_KEY": key})

    @property
    def url(self) -> str:
        return f"https://localhost:{self.ports['8443']}"

    def roots(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.directory("/test-tls/ca.crt"))
