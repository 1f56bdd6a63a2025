"""Helm lints the chart, Kubernetes' schemas judge what it renders, and the gateway takes the sovereign.yaml in it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import judging
import pytest
from helm_world import (
    CHART,
    MATRIX,
    ONE_POD,
    SHARED,
    Values,
    configuration,
    every_rendering,
    helm,
    manifests,
    named,
    rendered,
)

from sovereign_ext.config.load import decode

pytestmark = pytest.mark.services

OLDEST, NEWEST = "1.29", "1.37"
"""Releases of Kubernetes: what Chart.yaml asks for, and the newest that the judge knows."""

CUSTOM = {
    "Certificate": "cert-manager.io/v1",
    "ExternalSecret": "external-secrets.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
}
"""Kinds of other projects: Kubernetes has no schema of them."""


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[judging.Judge]:
    with judging.kubernetes() as judge:
        yield judge


@pytest.mark.parametrize("values", [ONE_POD, SHARED], ids=["one pod", "several pods"])
def test_helm_lints_the_examples(values: Values) -> None:
    """Strictly: a warning is a fault."""
    done = helm("lint", "--strict", ".", values=values)
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
def test_every_manifest_is_one_that_kubernetes_knows(kubernetes: judging.Judge, release: str) -> None:
    """Each different manifest of the matrix, fields that nobody knows included."""
    different = {json.dumps(each) for name in MATRIX for each in rendered(name) if each["kind"] not in CUSTOM}
    assert len(different) > 40
    for text in sorted(different):
        assert kubernetes.ask("validate", manifest=json.loads(text), release=release) == "", text


def test_the_judge_of_manifests_refuses(kubernetes: judging.Judge) -> None:
    """What the test above rests on: a field with another name, and a number that should be text."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selectors": {}}}
    assert "selectors" in kubernetes.ask("validate", manifest=service, release=NEWEST)
    service["spec"] = {"selector": {"app": 1}}
    assert "spec.selector.app" in kubernetes.ask("validate", manifest=service, release=NEWEST)


@every_rendering
def test_kinds_of_other_projects_have_their_current_version(name: str) -> None:
    found = {each["kind"]: each["apiVersion"] for each in rendered(name) if each["kind"] in CUSTOM}
    assert found.items() <= CUSTOM.items()


def test_a_certificate_names_the_service_and_its_secret() -> None:
    """Fields as cert-manager has them; the pod mounts that Secret."""
    (made,) = named(rendered("one pod"), "Certificate")
    assert made["spec"] == {
        "secretName": "demo-sovereign-router-tls",
        "issuerRef": {"group": "cert-manager.io", "kind": "Issuer", "name": "internal-ca"},
        "dnsNames": [
            "demo-sovereign-router.gateway-ns.svc",
            "demo-sovereign-router.gateway-ns.svc.cluster.local",
            "gateway.example",
        ],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "usages": ["digital signature", "server auth"],
    }


def test_an_external_secret_makes_the_secret_that_the_pod_uses() -> None:
    """Fields as External Secrets has them."""
    made = {
        each["metadata"]["name"]: each["spec"] for each in named(rendered("several pods"), "ExternalSecret")
    }
    assert set(made) == {"providers", "sovereign-storage"}
    assert made["providers"] == {
        "refreshInterval": "1h",
        "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"},
        "target": {"name": "providers", "creationPolicy": "Owner"},
        "data": [{"secretKey": "openai", "remoteRef": {"key": "gateway/providers", "property": "openai"}}],
    }


@every_rendering
def test_the_gateway_takes_the_configuration(name: str) -> None:
    """With what the chart adds to it: certificates and storage."""
    found = rendered(name)
    config = decode(configuration(found).encode(), "/etc/sovereign/config/sovereign.yaml").config
    assert config.origin == MATRIX[name]["config"]["origin"]
    shared = MATRIX[name].get("storage", {}).get("mode") == "shared"
    assert (config.storage.database is not None) is shared


def test_whole_numbers_stay_whole() -> None:
    """Helm reads numbers of values as floating point; a size must not become 3.3554432e+07."""
    values = {**ONE_POD, "config": {**ONE_POD["config"], "limits": {"max_request_bytes": 33554432}}}
    assert "max_request_bytes: 33554432\n" in configuration(manifests(values))


@pytest.mark.parametrize("name", ["one pod", "several pods", "on each node", "plain", "least"])
def test_the_notes_tell_the_next_step(name: str) -> None:
    """As `helm install` would print them; a dry run needs no cluster."""
    done = helm("install", "demo", ".", "--namespace", "gateway-ns", "--dry-run=client", values=MATRIX[name])
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:\n")[1]
    kind = "daemonset" if name == "on each node" else "statefulset"
    assert f"rollout status {kind}/demo-sovereign-router" in notes
    step = {"plain": "port-forward", "least": "There is no tenant yet"}.get(
        name, "helm test demo -n gateway-ns"
    )
    assert step in notes
    assert ("without TLS" in notes) is (name in ("plain", "least"))


def test_nothing_in_the_chart_is_left_out_of_the_package() -> None:
    """The test's script is a file of the chart, not of the checkout."""
    assert not any(
        line.startswith("files") for line in (CHART / ".helmignore").read_text("utf-8").splitlines()
    )
