"""docker-compose.yml run without a Docker engine, as far as that can be done.

Each service's command runs as a process of this machine: those of ours from the tree that the Dockerfile's steps built,
Envoy from its wheel, PostgreSQL and Valkey as the machine has them. What a container would see at a path or a port is
put in the place of it, by text: volumes, secrets and bind mounts are directories below one, ports are free ones, names
of services are loopback. The user is the image's, without capabilities, where we are root. Left out: images, networks,
limits.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compose_file import ComposeJudge, copied
from compose_image import UID, Build, stages, unprivileged
from stack import eventually

from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.probe import free_ports

PORTS = ("8080", "9464", "9443", "9901", "5432", "6379")
_HOSTS = r"\b(?:0\.0\.0\.0(?=:\d|$)|(?:router|envoy|mock|mirror|postgres|valkey)(?=:\d))"


class Compose:
    """A project in ``directory``, which has to be readable for everybody, with what ``build`` made."""

    def __init__(self, directory: Path, build: Build, programs: Path) -> None:
        self.directory = directory
        self.build = build
        self.ports = {port: str(free_ports(1)[0]) for port in PORTS}
        self.project: dict[str, Any] = {}
        self._programs = programs
        self._as_nobody = unprivileged(str(build.tree / "bin/python"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._leash = Leash()
        copied(directory)

    def read(self, judge: ComposeJudge, profiles: str) -> None:
        """`compose.sh init`, then the file, as the judge reads it; volumes are made as the image has them."""
        subprocess.run(
            [self.directory / "scripts/compose.sh", "init"], check=True, timeout=60, capture_output=True
        )
        for path in ("", "secrets"):  # an engine mounts what is in there, whoever may walk to it here
            (self.directory / "compose/local" / path).chmod(0o711)
        self.project = judge.load(self.directory / "docker-compose.yml", profiles)
        for name in self.project["volumes"]:
            place = self.directory / "volumes" / name
            place.mkdir(parents=True, mode=0o700)
            if os.geteuid() == 0:
                os.chown(place, UID, UID)

    def here(self, service: str, text: str) -> str:
        """``text`` as it is said in the container of ``service``, for this machine."""
        for inside, outside in sorted(self._places(service), reverse=True):
            text = re.sub(rf"(?<![\w./-]){re.escape(inside)}(?![\w.-])", str(outside), text)
        return self.on_loopback(text)

    def on_loopback(self, text: str) -> str:
        """Ports and names of services in ``text`` are those of this machine."""
        text = re.sub(_HOSTS, "127.0.0.1", text)
        return re.sub(rf"(?<![\d.])(?:{'|'.join(PORTS)})(?!\d)", lambda found: self.ports[found[0]], text)

    def start(self, service: str) -> None:
        """Start it and wait until its own health check says that it is well, or until it has ended well."""
        spec = self.project["services"][service]
        argv = [self.here(service, word) for word in [*self._entry(spec), *(spec["command"] or [])]]
        out = (self.directory / f"{service}.log").open("ab")
        with out:
            process = subprocess.Popen(
                [*self._as_nobody, *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                env=self.environment, process_group=0,
            )  # fmt: skip
        self._leash.add(process.pid)
        self._running[service] = process
        if "test" not in spec["healthcheck"]:
            assert process.wait(60) == 0, self.said(service)
            self._leash.drop(self._running.pop(service).pid)
            return

        def well() -> bool:
            assert process.poll() is None, f"{service} ended: {self.said(service)}"
            return self.well(service)

        eventually(well, f"{service} is well: {self.said(service)}", 60)

    def well(self, service: str) -> bool:
        """The health check of the file, once."""
        kind, *words = self.project["services"][service]["healthcheck"]["test"]
        argv = words if kind == "CMD" else ["sh", "-c", *words]
        # The judge gives `$` back as the file's `$$` means it.
        return self._done([*self._as_nobody, *(self.here(service, word) for word in argv)]).returncode == 0

    def run(self, service: str, *arguments: str, root: bool = False) -> subprocess.CompletedProcess[str]:
        """`docker compose run SERVICE ARGUMENTS…`, as the image's user, or as the one of `docker run --user`."""
        prefix = [] if root else self._as_nobody
        return self._done([*prefix, "sovereign", *(self.here(service, word) for word in arguments)])

    def stop(self, service: str) -> int:
        """SIGTERM, as the engine sends it; the exit code."""
        process = self._running.pop(service)
        process.terminate()
        code = process.wait(60)
        self._leash.drop(process.pid)
        return code

    def said(self, service: str) -> str:
        """The end of what it printed."""
        return (self.directory / f"{service}.log").read_text("utf-8", "replace")[-4000:]

    @property
    def is_nobody(self) -> bool:
        """Whether services run as the image's user, and not as we do."""
        return bool(self._as_nobody)

    def secret(self, name: str) -> Path:
        return self.directory / "compose/local/secrets" / name

    @property
    def environment(self) -> dict[str, str]:
        """What the image says, and nothing of this machine: no HOME, no user."""
        said = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
        return {
            **said,
            "PATH": f"{self.build.tree}/bin:{self._programs}:/usr/bin:/bin",
            "PGPORT": self.ports["5432"],
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Whatever is started in the block ends with it."""
        self._leash.hold()
        try:
            yield
        finally:
            for service in reversed(list(self._running)):
                process = self._running[service]
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
            self._leash.release()

    def _done(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, env=self.environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )

    def _entry(self, spec: dict[str, Any]) -> list[str]:
        return spec.get("entrypoint") or ["sovereign"]

    def _places(self, service: str) -> Iterator[tuple[str, Path]]:
        spec = self.project["services"][service]
        for mount in spec.get("volumes", []):
            if mount["type"] == "bind":
                yield mount["target"], Path(mount["source"])
            else:
                below = mount.get("volume", {}).get("subpath", "")
                yield mount["target"], self.directory / "volumes" / mount["source"] / below
        for secret in spec.get("secrets", []):
            yield f"/run/secrets/{secret['source']}", self.secret(secret["source"])


def build_image(directory: Path, programs: Path) -> tuple[Build, list[str]]:
    """The stages of the target `processor`; Envoy is kept in ``programs`` before the last one removes it.

    Also what packages the image with Envoy lists in its SBOM.
    """
    build = Build(directory)
    build.run(stages()["build"])
    listed = (build.tree / "sbom.cdx.json").read_text("utf-8")
    [envoy] = build.tree.glob("lib/python*/site-packages/envoy/_bin/envoy")
    programs.mkdir()
    shutil.copy(envoy, programs / "envoy")
    build.run(stages()["without-envoy"])
    return build, re.findall(r'"purl": "pkg:pypi/([^@"]+)@', listed)


def files(tree: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in it."""
    return {
        str(path.relative_to(tree)): (path.lstat().st_size, int(path.lstat().st_mtime))
        for path in tree.rglob("*")
    }
