"""`sovereign envoy render --mode istio|envoy-gateway|kgateway`: objects that fit together, and that Envoy accepts."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import judging
import mesh_envoy
import pytest
import yaml
from crds import crd, refusals
from golden_world import ENVOY, PLACES, Machine

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.cli.processor import register
from sovereign_ext.envoyconf import commented, notes

MODES = ("istio", "envoy-gateway", "kgateway")
EXAMPLE = ENVOY / "example" / "mesh.yaml"


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(mode: str) -> dict[str, Any]:
    return mesh_envoy.read(ENVOY / "mesh" / mode)


def pod(objects: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The processor's container, Envoy's, the volumes by name, and the pod's security context."""
    if "Deployment" in objects:
        spec = objects["Deployment"]["spec"]["template"]["spec"]
        (envoy,), settings = spec["containers"], spec
    elif "GatewayParameters" in objects:
        kube = objects["GatewayParameters"]["spec"]["kube"]
        spec = kube["deploymentOverlay"]["spec"]["template"]["spec"]
        envoy = {"volumeMounts": kube["envoyContainer"]["extraVolumeMounts"]}
        settings = kube["podTemplate"] | {"volumes": kube["podTemplate"]["extraVolumes"]}
    else:
        spec = objects["EnvoyProxy"]["spec"]["provider"]["kubernetes"]["envoyDeployment"]
        envoy, settings = spec["container"], spec["pod"]
    (processor,) = spec["initContainers"]
    volumes = {each["name"]: each for each in settings["volumes"]}
    return processor, envoy, volumes, settings["securityContext"]


@pytest.mark.services
def test_envoy_accepts_what_the_control_plane_would_give_it(tmp_path: Path, objects: dict[str, Any]):
    done = Machine(tmp_path).validate(yaml.safe_dump(mesh_envoy.static(objects), sort_keys=False))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "deprecated" not in done.stderr.lower()


def test_it_is_what_a_gateway_of_ours_has(tmp_path: Path, mode: str, objects: dict[str, Any]):
    """The same listeners, and the clusters that the processor would write: another arrangement, not another version."""
    for other in ("gateway", "xds"):
        argv = ["envoy", "render", "--mode", other, "--config", str(EXAMPLE), "--out", str(tmp_path), *PLACES]
        assert sovereign([*argv, *(["--below-1.40"] if mode == "kgateway" else [])]) == 0
    ours = yaml.safe_load((tmp_path / "gateway.yaml").read_text())["static_resources"]
    providers = yaml.safe_load((tmp_path / "clusters.yaml").read_text())["resources"]
    for each in providers:
        del each["@type"]
    listeners, clusters, _ = mesh_envoy.delivered(objects)
    assert listeners == ours["listeners"]
    assert clusters == [*ours["clusters"], *providers]


def test_the_control_plane_need_not_know_envoy_1_40(mode: str):
    """What only 1.40 has is in routes, and those are files."""
    for file in (ENVOY / "mesh" / mode).glob("*.yaml"):
        text = file.read_text()
        assert "priority_group" not in text
        assert "refresh_cluster_on_retry" not in text


def test_both_containers_meet(objects: dict[str, Any]):
    """One user, one directory of sockets and files; the processor is there first."""
    processor, envoy, volumes, context = pod(objects)
    assert processor["restartPolicy"] == "Always"
    assert processor["securityContext"]["runAsUser"] == context["fsGroup"]
    mounts = {each["name"]: each["mountPath"] for each in processor["volumeMounts"]}
    seen = {each["name"]: each["mountPath"] for each in envoy["volumeMounts"]}
    assert mounts["run"] == seen["run"]
    assert mounts["config"] == seen["envoy-files"]
    assert mounts.keys() | seen.keys() == volumes.keys()
    _, clusters, _ = mesh_envoy.delivered(objects)
    pipes = [
        end["endpoint"]["address"]["pipe"]["path"]
        for cluster in clusters
        for place in cluster["load_assignment"].get("endpoints", ())
        for end in place["lb_endpoints"]
        if "pipe" in end["endpoint"]["address"]
    ]
    assert len(pipes) == 2
    assert all(path.startswith(f"{mounts['run']}/") for path in pipes)


def test_the_processor_understands_its_command(objects: dict[str, Any]):
    """Paths of the container are those of the rendering, and the file of the ConfigMap is the one that was rendered."""
    processor, *_ = pod(objects)
    name, *command = processor["command"]
    assert name == "sovereign"
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args([*command, *processor["args"]])
    assert args.config == Path("/etc/sovereign") / EXAMPLE.name
    mounts = {each["mountPath"] for each in processor["volumeMounts"]}
    assert {
        str(args.config.parent),
        str(args.state_dir),
        str(args.run_dir),
        str(args.envoy_dir.parent),
    } <= mounts


def test_each_container_sees_its_own_secrets_only(objects: dict[str, Any]):
    """The log's keys stay with the processor, the key of our certificate with Envoy."""
    processor, envoy, volumes, _ = pod(objects)
    assert "state" not in {each["name"] for each in envoy["volumeMounts"]}
    assert "envoy-files" not in {each["name"] for each in processor["volumeMounts"]}
    assert "secret" not in str(volumes["config"])
    (secret,) = [
        each["secret"] for each in volumes["envoy-files"]["projected"]["sources"] if "secret" in each
    ]
    assert [item["path"] for item in secret["items"]] == ["tls/tls.crt", "tls/tls.key"]


def test_the_service_leads_to_our_listener(objects: dict[str, Any]):
    listeners, _, _ = mesh_envoy.delivered(objects)
    (ingress,) = [each for each in listeners if each["name"] == "ingress"]
    service = objects["Service"]["spec"]
    assert [each["targetPort"] for each in service["ports"]] == [
        ingress["address"]["socket_address"]["port_value"]
    ]
    if "Deployment" in objects:
        labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
        selector = objects["EnvoyFilter"]["spec"]["workloadSelector"]["labels"]
        assert selector.items() <= labels.items()
    elif "GatewayParameters" in objects:
        gateway = objects["Gateway"]
        assert service["selector"] == {"gateway.networking.k8s.io/gateway-name": gateway["metadata"]["name"]}
        reference = gateway["spec"]["infrastructure"]["parametersRef"]
        assert reference["name"] == objects["GatewayParameters"]["metadata"]["name"]
        assert (
            objects["Service"]["metadata"]["name"] != gateway["metadata"]["name"]
        )  # kgateway makes one of this name
        assert ingress["address"]["socket_address"]["port_value"] != gateway["spec"]["listeners"][0]["port"]
    else:
        gateway = objects["Gateway"]["metadata"]
        assert set(service["selector"].values()) == {gateway["name"], gateway["namespace"]}
        assert objects["EnvoyPatchPolicy"]["spec"]["targetRef"]["name"] == gateway["name"]
        reference = objects["Gateway"]["spec"]["infrastructure"]["parametersRef"]
        assert reference["name"] == objects["EnvoyProxy"]["metadata"]["name"]
    assert len({each["metadata"]["namespace"] for each in objects.values()}) == 1


@pytest.mark.parametrize("kind", ["EnvoyFilter", "EnvoyPatchPolicy", "EnvoyProxy", "GatewayParameters"])
def test_it_fits_the_projects_schema(kind: str):
    """Of the release that docs/deploy/mesh.md names, where Go's module cache has it."""
    schema = crd(kind)
    if schema is None:
        pytest.skip("not in Go's module cache: see tests/crds.py")
    found = next(
        objects[kind]
        for objects in (mesh_envoy.read(ENVOY / "mesh" / mode) for mode in MODES)
        if kind in objects
    )
    assert refusals(found["spec"], schema) == []
    assert refusals({**found["spec"], "nonsense": 1}, schema) == ["/spec/nonsense: unknown"]


@pytest.mark.services
@pytest.mark.parametrize("release", ["1.29", "1.37"])
def test_kubernetes_own_kinds_fit_its_schemas(release: str):
    """Deployment, Services and ConfigMap; and the processor's container of the other pods, in a Deployment to be judged
    by."""
    istio, *gateways = (mesh_envoy.read(ENVOY / "mesh" / mode) for mode in MODES)
    manifests = [istio["Deployment"], istio["Service"], gateways[1]["ConfigMap"]]
    for gateway in gateways:
        other = copy.deepcopy(istio["Deployment"])
        processor, _, volumes, context = pod(gateway)
        other["spec"]["template"]["spec"] |= {
            "initContainers": [processor],
            "volumes": list(volumes.values()),
            "securityContext": context,
        }
        manifests += [other, gateway["Service"]]
    with judging.kubernetes() as judge:
        for manifest in manifests:
            assert judge.ask("validate", manifest=manifest, release=release) == ""


def test_every_comment_is_said_somewhere():
    documents = [yaml.safe_load(path.read_text()) for path in (ENVOY / "mesh").rglob("*.yaml")]
    assert "# " in (ENVOY / "mesh" / "kgateway" / "configmap.yaml").read_text().partition("envoy.yaml: |")[2]
    assert commented.unused(documents, notes.MESH_NOTES) == set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mode", "istio"), "--image"),
        (("--mode", "gateway", "--image", "x"), "--mode istio"),
        (("--mode", "xds", "--namespace", "x"), "--mode istio"),
        (("--mode", "istio", "--image", "x", "--workload", "spiffe://a.example/b"), "--mode sidecar"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    assert sovereign(["envoy", "render", "--config", str(EXAMPLE), "--out", str(tmp_path), *options]) != 0
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
