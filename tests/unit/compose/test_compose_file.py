"""docker-compose.yml: allowed by the specification, hardened, pinned, healthy in the right order, without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_file import COMPOSE, DIGESTS, ROOT, VARIABLES, ComposeJudge, RefusedError
from judging import leaks

from sovereign_ext.cli import main as cli
from sovereign_ext.config.load import load

pytestmark = pytest.mark.services

ALWAYS = {"router", "render", "envoy", "mirror", "postgres", "valkey"}
PROFILES = {
    "": set(),
    "demo": {"mock"},
    "observability": {"collector"},
    "demo,observability": {"mock", "collector"},
}
OURS = {"router", "render", "mirror", "mock"}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> ComposeJudge:
    return ComposeJudge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def project(judge: ComposeJudge) -> dict[str, Any]:
    return judge.load(COMPOSE, "demo,observability")


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = project["services"]
    return found


# -- the specification ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profiles", PROFILES)
def test_the_file_is_what_the_specification_allows(judge: ComposeJudge, profiles: str) -> None:
    """With each choice of profiles; a service is there only with its own."""
    assert set(judge.load(COMPOSE, profiles)["services"]) == ALWAYS | PROFILES[profiles]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("    stop_grace_period: 60s", "    stop_grace: 60s", "stop_grace"),
        ("postgres: {condition: service_healthy}", "postgress: {condition: service_healthy}", "postgress"),
        ("source: memory,", "source: memories,", "memories"),
        ("secrets: [valkey.conf]", "secrets: [valkey.config]", "valkey.config"),
        ("networks: [data]", "networks: [date]", "date"),
    ],
)
def test_the_judge_sees_mistakes(
    judge: ComposeJudge, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    """What the test above rests on."""
    text = COMPOSE.read_text("utf-8")
    assert old in text
    changed = tmp_path / "docker-compose.yml"
    changed.write_text(text.replace(old, new))
    with pytest.raises(RefusedError, match=reason):
        judge.load(changed, "demo,observability")


@pytest.mark.parametrize("variable", VARIABLES)
def test_no_image_runs_without_its_digest(judge: ComposeJudge, variable: str) -> None:
    """Compose refuses the file, and says what to do."""
    for value in ({}, {variable: ""}):
        given = {name: digest for name, digest in DIGESTS.items() if name != variable} | value
        with pytest.raises(RefusedError, match=rf"{variable}.*scripts/compose\.sh digests"):
            judge.load(COMPOSE, "demo,observability", given)


def test_every_image_is_pinned_by_a_version_and_a_digest(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name in OURS:
            assert service["image"] == services["router"]["image"]
            continue
        image, _, digest = service["image"].partition("@")
        assert digest in DIGESTS.values(), name
        assert re.search(r":v?\d+(\.\d+)*(-[a-z]+)?$", image), f"{image}: no version"
        assert "latest" not in image
    assert services["router"]["build"]["args"]["PYTHON_DIGEST"] == DIGESTS["PYTHON_DIGEST"]


# -- hardening -----------------------------------------------------------------------------------------------------


def test_nobody_is_root_or_can_become_it(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        user, _, group = service["user"].partition(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        forbidden = {
            "cap_add",
            "privileged",
            "devices",
            "pid",
            "ipc",
            "userns_mode",
            "volumes_from",
            "use_api_socket",
        }
        assert not forbidden & set(service), name
        assert service.get("network_mode", "none") == "none", name


def test_file_systems_can_only_be_read(services: dict[str, dict[str, Any]]) -> None:
    """But for volumes that the file names, and memory; nothing of the host can be written."""
    for name, service in services.items():
        assert service["read_only"] is True, name
        for mount in service.get("volumes", []):
            assert mount["type"] in ("volume", "bind"), name
            if mount["type"] == "bind":
                assert mount["read_only"] is True, (name, mount)
                assert Path(mount["source"]).is_relative_to(ROOT / "compose"), (name, mount)
    mounts = {
        name: {each["source"] for each in service.get("volumes", [])} for name, service in services.items()
    }
    assert mounts["envoy"] == {"run"}, "Envoy sees neither keys nor the log"
    assert services["mirror"]["volumes"][1] | {"type": ""} == {
        "type": "", "source": "state", "target": "/run/log", "read_only": True, "volume": {"subpath": "log/public"},
    }  # fmt: skip


def test_only_clients_get_in(project: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    """Ports of Envoy and of the collector, on loopback; database and counts have no way to the outside."""
    ports = {
        name: [port["host_ip"] for port in each["ports"]]
        for name, each in services.items()
        if each.get("ports")
    }
    assert ports == {"envoy": ["127.0.0.1"], "collector": ["127.0.0.1"]}
    assert project["networks"]["data"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert set(services[name]["networks"]) == {"data"}
    on_data = {name for name, each in services.items() if "data" in each.get("networks", {})}
    assert on_data == {"router", "postgres", "valkey"}


# -- health --------------------------------------------------------------------------------------------------------


def test_everything_is_asked_whether_it_is_well(services: dict[str, dict[str, Any]]) -> None:
    """But what ends by itself, and an image that holds one program which cannot ask."""
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ("render", "collector"):
            assert check == {"disable": True}, name
            continue
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period"} <= set(check), name


def test_who_needs_another_waits_until_it_is_well(services: dict[str, dict[str, Any]]) -> None:
    waits = {
        (name, other): need["condition"]
        for name, service in services.items()
        for other, need in service.get("depends_on", {}).items()
    }
    ends = {pair for pair, condition in waits.items() if condition == "service_completed_successfully"}
    assert ends == {("envoy", "render")}
    assert {condition for pair, condition in waits.items() if pair not in ends} == {"service_healthy"}
    for pair in (("router", "postgres"), ("router", "valkey"), ("envoy", "router"), ("mirror", "envoy")):
        assert pair in waits


# -- secrets -------------------------------------------------------------------------------------------------------


def test_secrets_are_files_for_those_who_need_them(
    project: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    given = {
        name: {each["source"] for each in service.get("secrets", [])} for name, service in services.items()
    }
    assert {name: secrets for name, secrets in given.items() if secrets} == {
        "router": {"database-url", "valkey-url", "key-hash"},
        "postgres": {"postgres-password", "database-password"},
        "valkey": {"valkey.conf"},
    }
    for name, secret in project["secrets"].items():
        # Secrets from variables cannot be had by a container whose file system is read-only.
        assert secret["file"] == str(ROOT / "compose/local/secrets" / name)
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {"compose/local/", ".env"} <= set(ignored)
    assert (ROOT / ".dockerignore").read_text("utf-8").splitlines()[0] == "*", (
        "only what is listed is sent to a build"
    )


def test_no_file_holds_a_secret(services: dict[str, dict[str, Any]]) -> None:
    """detect-secrets finds none, and variables name files."""
    files = [COMPOSE, ROOT / "Dockerfile", *sorted((ROOT / "compose").glob("*.*"))]
    with leaks() as judge:
        assert judge.ask("found", text=f"url: postgresql://u:{'x7Kq' * 4}@h/d\n"), "it can find one"
        for file in files:
            assert judge.ask("found", text=file.read_text("utf-8")) == [], file.name
    for service in services.values():
        for name, value in (service.get("environment") or {}).items():
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY", name) or value.startswith("/run/secrets/")


# -- what is run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_commands_exist(services: dict[str, dict[str, Any]], name: str) -> None:
    """The command line is taken by the command, and what asks for its health, too."""
    lines = [services[name]["command"]]
    if "test" in services[name]["healthcheck"]:
        kind, program, *line = services[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "sovereign")
        lines.append(line)
    for line in lines:
        assert cli._parser(line).parse_args(line).command == line[0]


def test_the_configuration_to_begin_with_can_be_used() -> None:
    """It names the secrets that the file has, and the mock."""
    config = load(ROOT / "compose/sovereign.yaml").config
    assert config.storage.database is not None
    assert config.storage.database.url_file == "/run/secrets/database-url"
    assert [each.endpoint for each in config.providers] == ["http://mock:9901/v1"]


def test_the_collector_asks_the_router(services: dict[str, dict[str, Any]]) -> None:
    """Where the router serves metrics; what it offers is the port that is published."""
    config = yaml.safe_load((ROOT / "compose/otel-collector.yaml").read_text("utf-8"))
    [job] = config["receivers"]["prometheus"]["config"]["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["router:9464"]}]
    assert "--metrics-listen=0.0.0.0:9464" in services["router"]["command"]
    assert (
        config["exporters"]["prometheus"]["endpoint"]
        == f"0.0.0.0:{services['collector']['ports'][0]['target']}"
    )
    for part in config["service"]["pipelines"].values():
        assert {*part["receivers"], *part["processors"], *part["exporters"]} <= {
            *config["receivers"], *config["processors"], *config["exporters"],
        }  # fmt: skip
