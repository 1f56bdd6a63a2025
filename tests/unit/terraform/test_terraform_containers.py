"""The task that ECS would start: its containers' rights, and their commands and configuration by the product itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from terraform_world import Made

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.cli.main import main
from sovereign_ext.config.keystore import KeystoreConfig
from sovereign_ext.config.keystore_kms import AwsKms, AwsSecretsManager, secret_name

pytestmark = pytest.mark.services

NAMES = {"prepare", "processor", "envoy", "drain"}


@pytest.fixture(scope="session")
def containers(ecs: Made) -> dict[str, dict[str, Any]]:
    """The task's containers by name."""
    return ecs.containers()


@pytest.fixture(scope="session")
def configuration(containers: dict[str, dict[str, Any]]) -> str:
    """sovereign.yaml as the task has it."""
    return {item["name"]: item["value"] for item in containers["prepare"]["environment"]}["SOVEREIGN_YAML"]


def test_containers_may_do_little(ecs: Made, containers: dict[str, dict[str, Any]]) -> None:
    """One user that is not root, nothing writable but volumes, no capability; root only for what ends before."""
    assert set(containers) == NAMES
    for name, container in containers.items():
        assert container["readonlyRootFilesystem"] is True
        assert "@sha256:" in container["image"]
        assert container["essential"] == (name != "prepare")
        assert container["user"] == ("0:0" if name == "prepare" else "10001:10001")
        assert container.get("privileged") is None
        if name != "prepare":
            assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    volume = next(item for item in ecs.one("ecs_task_definition")["volume"] if item["name"] == "log-keys")
    (shared,) = volume["efs_volume_configuration"]
    assert shared["transit_encryption"] == "ENABLED"
    assert shared["authorization_config"][0]["iam"] == "ENABLED"
    assert ecs.one("ecs_service")["enable_execute_command"] is False


def test_secrets_come_by_reference(ecs: Made, containers: dict[str, dict[str, Any]]) -> None:
    """Each from a secret of the module, and only to who needs it: Envoy gets none."""
    arns = {values["arn"] for values in ecs.all("secretsmanager_secret").values()}
    given = {
        name: {secret["name"]: secret["valueFrom"] for secret in container.get("secrets", ())}
        for name, container in containers.items()
    }
    assert given["envoy"] == given["drain"] == {}
    assert sorted(given["prepare"]) == ["TLS_CERTIFICATE", "TLS_KEY"]
    assert all(value.split(":", 1)[0] in arns for values in given.values() for value in values.values())
    assert "keys" not in {mount["sourceVolume"] for mount in containers["envoy"]["mountPoints"]}
    assert "state" not in {mount["sourceVolume"] for mount in containers["envoy"]["mountPoints"]}


def test_every_variable_of_the_configuration_is_set(
    containers: dict[str, dict[str, Any]], configuration: str
) -> None:
    """What ``storage`` names is what the processor is given."""

    def named(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("env", "url_env") and isinstance(inner, str):
                    yield inner
                yield from named(inner)

    wanted = sorted(named(yaml.safe_load(configuration)["storage"]))
    assert wanted == sorted(secret["name"] for secret in containers["processor"]["secrets"])
    assert len(wanted) == 3
    tiles = yaml.safe_load(configuration)["storage"]["tiles"]["s3"]
    assert not {"access_key_id", "secret_access_key"} & set(tiles)  # the task's role signs


def test_the_keystore_is_where_the_rights_are(ecs: Made, configuration: str) -> None:
    """Provider keys are looked up, and the master key is wrapped, under what the role allows."""
    keystore = KeystoreConfig.model_validate(yaml.safe_load(configuration)["keystore"], strict=False)
    assert keystore.local is not None
    wrap, (service,) = keystore.local.master_key.wrapped, keystore.kms
    assert isinstance(service, AwsSecretsManager)
    assert isinstance(wrap, AwsKms)
    rights = {item["Sid"]: item for item in ecs.policies()["module.identity.aws_iam_role_policy.router"]}
    assert wrap.key == rights["WrapTheMasterKey"]["Resource"]
    (condition,) = rights["WrapTheMasterKey"]["Condition"].values()
    assert condition == {f"kms:EncryptionContext:{name}": value for name, value in wrap.context.items()}
    allowed = rights["ReadProviderKeys"]["Resource"].partition(":secret:")[2].removesuffix("*")
    assert secret_name(service.template, "acme", "cloud").startswith(allowed)
    startup = [values["name"] for values in ecs.all("secretsmanager_secret").values()]
    assert not any(name.startswith(allowed) for name in startup)


def test_the_first_container_prepares_what_the_others_read(
    containers: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Its script, run below a directory: ``sovereign check`` passes, Envoy's bootstrap is there, all of it private."""
    programs, places = tmp_path / "bin", tmp_path / "root"
    programs.mkdir()
    for name, line in {
        "sovereign": f'exec "{sys.executable}" -m sovereign_ext.cli.main "$@"',
        "chown": 'echo "chown $*"',  # takes root
        "chmod": 'echo "chmod $*"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        (programs / name).chmod(0o755)
    script = containers["prepare"]["command"][0]
    for path in ("/etc/sovereign", "/run/sovereign", "/var/lib/sovereign"):
        (places / path[1:]).mkdir(parents=True)
        script = script.replace(path, f"{places}{path}")
    environment = {item["name"]: item["value"] for item in containers["prepare"]["environment"]}
    environment |= {"TLS_CERTIFICATE": "certificate", "TLS_KEY": "key"}
    environment |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH", "HOME") if name in os.environ}
    line = [*containers["prepare"]["entryPoint"], script]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"chown -R 10001:10001 {places}/etc/sovereign" in done.stdout
    files = {path.name: path for path in (places / "etc/sovereign").iterdir()}
    assert {"sovereign.yaml", "database-ca.pem", "tls.crt", "tls.key", "gateway.yaml"} <= set(files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files.values() if path.is_file())
    assert files["tls.key"].read_text() == "key\n"
    rendered = files["gateway.yaml"].read_text()
    assert f"{places}/run/sovereign/envoy" in rendered
    addresses = [
        item["address"]
        for item in yaml.safe_load(rendered)["static_resources"]["listeners"]
        if "address" in item
    ]
    (mapping,) = containers["envoy"]["portMappings"]
    assert {"address": "0.0.0.0", "port_value": mapping["containerPort"]} in [
        {name: value for name, value in address["socket_address"].items() if name in ("address", "port_value")}
        for address in addresses if "socket_address" in address
    ]  # fmt: skip


def test_the_processor_is_started_as_it_wants(
    containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command line is taken; Envoy's reads what was rendered."""
    started: list[Any] = []
    monkeypatch.setattr("sovereign_ext.cli.processor.run", lambda args: started.append(args) or 0)
    assert main(containers["processor"]["command"]) == 0
    (args,) = started
    assert (args.config, args.run_dir) == (Path("/etc/sovereign/sovereign.yaml"), Path("/run/sovereign"))
    assert containers["envoy"]["command"][:2] == ["-c", "/etc/sovereign/gateway.yaml"]
    order = {item["containerName"]: item["condition"] for item in containers["envoy"]["dependsOn"]}
    assert order == {"prepare": "SUCCESS", "processor": "HEALTHY"}


def test_what_is_stopped_first_drains_envoy(
    containers: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its signal it runs ``sovereign envoy drain`` and ends; ECS stops containers against their order of start."""
    for name, lines in {
        "sovereign": 'echo "$@"',
        "sleep": "echo waits\nexec /bin/sleep 60 >/dev/null 2>&1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    drain = containers["drain"]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    line = [*drain["entryPoint"], *drain["command"]]
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.terminate()
        said = process.stdout.readline().split()
        assert process.wait(timeout=60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # its `sleep`, if that is still there
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    drained: list[Any] = []
    monkeypatch.setattr("sovereign_ext.cli.envoy.run", lambda args: drained.append(args) or 0)
    assert main(said) == 0
    assert drained[0].run_dir == Path("/run/sovereign")
    assert drained[0].within_s < drain["stopTimeout"]
    assert drain["dependsOn"] == [{"containerName": "envoy", "condition": "START"}]


@pytest.mark.parametrize(("status", "code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_the_health_check_asks_for_liveness(
    containers: dict[str, dict[str, Any]], tmp_path: Path, status: str, code: int
) -> None:
    """The line that ECS runs, on a Unix socket where the health service says so."""
    asked: list[str] = []

    class Service(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            assert handler_call_details.method == "/grpc.health.v1.Health/Check"

            def check(request: bytes, _: grpc.ServicerContext) -> bytes:
                asked.append(health_pb2.HealthCheckRequest.FromString(request).service)
                return health_pb2.HealthCheckResponse(status=status).SerializeToString()

            return grpc.unary_unary_rpc_method_handler(check)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Service()])
    server.add_insecure_port(f"unix:{tmp_path}/management.sock")
    server.start()
    try:
        kind, _, *line = containers["processor"]["healthCheck"]["command"]
        line[-1] = line[-1].replace("/run/sovereign", str(tmp_path))
        done = subprocess.run(
            [sys.executable, *line], capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        server.stop(0).wait()
    assert (kind, done.returncode, asked) == ("CMD", code, ["liveness"]), done.stderr


def test_a_task_definition_fits(containers: dict[str, dict[str, Any]]) -> None:
    """ECS takes 64 KiB; the longest configuration and roots that are taken leave room for the rest."""
    small = json.dumps(list(containers.values()))
    ours = len(small) - sum(len(item["value"]) for item in containers["prepare"]["environment"])
    assert ours + 32_768 + 16_384 < 65_536
