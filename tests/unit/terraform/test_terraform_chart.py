"""The EKS variant's outputs, given to Helm and to Kubernetes' schemas as they are: nobody copies a name by hand."""

from __future__ import annotations

import json
from typing import Any

import helm_world
import judging
import pytest
import yaml
from terraform_world import Made

from sovereign_ext.config.load import decode
from sovereign_ext.config.model import Config

pytestmark = pytest.mark.services

KUBERNETES = "1.37"
CHART_USER = 65532


@pytest.fixture(scope="module")
def values(eks: Made) -> dict[str, Any]:
    """What ``terraform output -raw helm_values`` writes."""
    return dict(yaml.safe_load(eks.outputs["helm_values"]))


@pytest.fixture(scope="module")
def rendered(values: dict[str, Any]) -> list[helm_world.Manifest]:
    """What Helm makes of it, after the chart's schema has taken it."""
    return helm_world.manifests(values)


@pytest.fixture(scope="module")
def objects(eks: Made) -> dict[str, dict[str, Any]]:
    """What ``kubectl apply`` gets before, by kind."""
    found = list(yaml.safe_load_all(eks.outputs["kubernetes_objects"]))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.fixture(scope="module")
def config(rendered: list[helm_world.Manifest]) -> Config:
    """sovereign.yaml as pods have it, as the product reads it."""
    return decode(helm_world.configuration(rendered).encode(), "sovereign.yaml").config


def test_the_chart_takes_the_values(eks: Made, rendered: list[helm_world.Manifest]) -> None:
    """Two pods of the image by its digest, with the role's service account and the balancer's annotations."""
    workload = helm_world.workload(rendered)
    assert workload["spec"]["replicas"] == 2
    pod = workload["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"].endswith("/sovereign-router@sha256:" + "a" * 64)
    association = eks.one("eks_pod_identity_association", ".router")
    assert association["service_account"] == pod["serviceAccountName"]
    service = helm_world.one(rendered, "Service")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == eks.outputs["eks"]["service_annotations"]


def test_the_product_takes_the_configuration(eks: Made, config: Config) -> None:
    """What was given goes through; storage is the chart's, the keystore the module's, and no key stands for tiles."""
    assert config.origin == "logs.example.org/router"
    assert [provider.id for provider in config.providers] == ["cloud"]
    assert config.ingress.limits.connections == 2000
    assert config.keystore.local is not None
    assert config.keystore.local.master_key.wrapped.key == eks.keys()["wrapping"]  # type: ignore[union-attr]
    assert config.storage.database is not None
    assert config.storage.tiles is not None
    s3 = config.storage.tiles.s3
    assert s3 is not None
    assert (s3.bucket, s3.prefix, s3.path_style) == (eks.outputs["tiles_bucket"], "log/", False)
    assert s3.access_key_id is s3.secret_access_key is None


def test_every_secret_comes_from_one_of_the_modules(eks: Made, rendered: list[helm_world.Manifest]) -> None:
    """External Secrets copies what Secrets Manager has; pods name no Secret and no key beside these."""
    kept = {each["name"] for each in eks.all("secretsmanager_secret").values()}
    made: set[tuple[str, str]] = set()
    for each in helm_world.named(rendered, "ExternalSecret"):
        for item in each["spec"]["data"]:
            assert item["remoteRef"]["key"] in kept
            made.add((each["metadata"]["name"], item["secretKey"]))
    processor = helm_world.container(rendered, "processor")
    wanted = {
        (each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"])
        for each in processor["env"]
    }
    assert len(wanted) == 3
    assert wanted <= made
    volumes = helm_world.workload(rendered)["spec"]["template"]["spec"]["volumes"]
    mounted = {each["name"]: each["secret"]["secretName"] for each in volumes if "secret" in each}
    assert set(mounted.values()) == {name for name, _ in made} - {name for name, _ in wanted}
    assert {(mounted["tls"], "tls.crt"), (mounted["tls"], "tls.key")} <= made
    (roots,) = (each for each in processor["volumeMounts"] if each["name"] == "secret-0")
    assert (roots["mountPath"], (mounted["secret-0"], "ca.pem") in made) == ("/run/secrets/database-ca", True)
    (read, _) = eks.policies()["module.identity.aws_iam_policy.startup"]
    assert len(read["Resource"]) == len(kept) == 5


def test_the_volume_of_the_logs_keys_is_the_claim_of_the_pods(
    eks: Made, objects: dict[str, dict[str, Any]], rendered: list[helm_world.Manifest]
) -> None:
    """Through the access point, over TLS, as the user that the pods run as."""
    volume, claim = objects["PersistentVolume"], objects["PersistentVolumeClaim"]
    pod = helm_world.workload(rendered)["spec"]["template"]["spec"]
    (shared,) = (
        each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if each["name"] == "shared"
    )
    assert claim["metadata"]["name"] == shared
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    assert volume["spec"]["claimRef"] == {"name": shared, "namespace": claim["metadata"]["namespace"]}
    place = eks.outputs["log_keys"]
    assert volume["spec"]["csi"]["volumeHandle"] == f"{place['file_system_id']}::{place['access_point_id']}"
    assert volume["spec"]["mountOptions"] == ["tls", "iam"]
    (user,) = eks.one("efs_access_point")["posix_user"]
    assert user["uid"] == user["gid"] == pod["securityContext"]["runAsUser"] == CHART_USER


def test_the_store_of_secrets_is_where_the_module_keeps_them(
    eks: Made, objects: dict[str, dict[str, Any]], rendered: list[helm_world.Manifest]
) -> None:
    """In the namespace of the pods' service account; fields as External Secrets has them."""
    store = objects["SecretStore"]
    assert store["apiVersion"] == "external-secrets.io/v1"
    assert store["spec"] == {"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}}
    assert store["metadata"]["namespace"] == eks.one("eks_pod_identity_association", ".router")["namespace"]
    references = [each["spec"]["secretStoreRef"] for each in helm_world.named(rendered, "ExternalSecret")]
    assert references == [{"name": store["metadata"]["name"], "kind": "SecretStore"}] * 3


def test_pods_reach_the_stores_and_the_agent_that_has_their_role(rendered: list[helm_world.Manifest]) -> None:
    """Pod Identity's agent answers on the node, at port 80."""
    (policy,) = helm_world.named(rendered, "NetworkPolicy")
    _, ports, agent = policy["spec"]["egress"]
    assert {port["port"] for port in ports["ports"]} == {443, 5432, 6379}
    assert agent == {
        "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}],
        "ports": [{"protocol": "TCP", "port": 80}],
    }


def test_kubernetes_knows_every_object(
    objects: dict[str, dict[str, Any]], rendered: list[helm_world.Manifest]
) -> None:
    """By its own schemas; kinds of External Secrets are not among them."""
    known = [each for each in (*objects.values(), *rendered) if "external-secrets" not in each["apiVersion"]]
    with judging.kubernetes() as judge:
        for each in known:
            assert judge.ask("validate", manifest=each, release=KUBERNETES) == "", json.dumps(each)


def test_nothing_in_the_outputs_is_secret(eks: Made, ecs: Made) -> None:
    """They name secrets; on ECS there are none for Kubernetes."""
    text = eks.outputs["helm_values"] + eks.outputs["kubernetes_objects"]
    assert "postgresql://" not in text
    assert "BEGIN" not in text
    assert not {"helm_values", "kubernetes_objects"} & set(ecs.outputs)
