"""What manifests say together: order of containers, probes, drain, ports, selectors, hooks, what a change restarts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helm_world import (
    MATRIX,
    ONE_POD,
    RELEASE,
    SHARED,
    Manifest,
    Values,
    configuration,
    container,
    every_rendering,
    labels,
    manifests,
    merged,
    named,
    one,
    pods,
    rendered,
    workload,
)

from sovereign_ext.cli.main import _parser
from sovereign_ext.config.ingress import IngressLimits
from sovereign_ext.config.load import decode

pytestmark = pytest.mark.services

PLACES = ("--config", "--state-dir", "--run-dir", "--envoy-dir", "--message-timeout-ms")


def pod_of(found: list[Manifest]) -> Manifest:
    return dict(workload(found)["spec"]["template"]["spec"])


def option(each: Manifest, name: str) -> str:
    """The value of ``--name=value`` in a container's arguments, or its preStop command's."""
    words = [*each["args"], *each.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ())]
    (it,) = (word.partition("=")[2] for word in words if word.startswith(f"{name}="))
    return it


@every_rendering
def test_envoy_starts_after_the_processor_and_is_drained_before_it_stops(name: str) -> None:
    """The processor is a sidecar: an init container that stays. Its startup probe holds Envoy back."""
    pod = pod_of(rendered(name))
    render, processor = pod["initContainers"]
    (envoy,) = pod["containers"]
    assert (render["name"], processor["name"], envoy["name"]) == ("render", "processor", "envoy")
    assert "restartPolicy" not in render
    assert processor["restartPolicy"] == "Always"
    assert processor["startupProbe"]["grpc"] == {"port": 9465, "service": "liveness"}
    drain = envoy["lifecycle"]["preStop"]["exec"]["command"]
    assert drain[:3] == ["sovereign", "envoy", "drain"]
    longest = MATRIX[name].get("drain", {}).get("longestStreamSeconds", 600)
    assert int(option(envoy, "--within-s")) == longest + int(option(envoy, "--accept-s"))
    assert pod["terminationGracePeriodSeconds"] >= int(option(envoy, "--within-s")) + 30


@every_rendering
def test_liveness_and_readiness_are_asked_apart(name: str) -> None:
    """A log that cannot be written takes the pod out of service; it does not have it killed."""
    processor = container(rendered(name), "processor")
    assert processor["livenessProbe"]["grpc"]["service"] == "liveness"
    assert processor["readinessProbe"]["grpc"]["service"] == "readiness"
    assert option(processor, "--health-listen") == "0.0.0.0:9465"
    assert {"name": "health", "containerPort": 9465} in processor["ports"]
    envoy = container(rendered(name), "envoy")
    assert envoy["livenessProbe"]["tcpSocket"] == {"port": "ingress"}
    if name == "clients with certificates":
        assert envoy["readinessProbe"]["tcpSocket"] == {"port": "ingress"}  # the kubelet has no certificate
    else:
        scheme = "HTTPS" if "tls:" in configuration(rendered(name)) else "HTTP"
        assert envoy["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "ingress", "scheme": scheme}


@every_rendering
def test_the_program_knows_every_option(name: str) -> None:
    """Each command of each pod, read by the command line's own parser."""
    commands = []
    for _, pod in pods(rendered(name)):
        for each in [*pod.get("initContainers", ()), *pod["containers"]]:
            commands.append([*each["command"], *each.get("args", ())])
            commands.append(each.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", []))
    ours = [words[1:] for words in commands if words[:1] == ["sovereign"]]
    assert len(ours) >= 3
    for words in ours:
        assert _parser(words).parse_args(words).command == words[0]
    assert {words[0] for words in commands if words} <= {"sovereign", "envoy", "python"}


@every_rendering
def test_processor_and_rendering_agree_where_they_meet(name: str) -> None:
    """Envoy is told the places that the processor has; each is a mount of both, or of the processor alone."""
    found = rendered(name)
    for place in PLACES:
        assert option(container(found, "render"), place) == option(container(found, "processor"), place)
    run = option(container(found, "processor"), "--run-dir")
    assert len(run) <= 78
    assert option(container(found, "envoy"), "--run-dir") == run
    assert option(container(found, "processor"), "--envoy-dir").startswith(run + "/")
    for each in ("render", "processor", "envoy"):
        assert {"name": "run", "mountPath": run} in container(found, each)["volumeMounts"]
    bootstrap = container(found, "envoy")["args"][1]
    assert bootstrap == option(container(found, "render"), "--out") + "/gateway.yaml"


@every_rendering
def test_envoys_memory_is_limited_above_what_it_limits_itself_to(name: str) -> None:
    """Otherwise the kernel ends it before its overload manager refuses calls."""
    limit = container(rendered(name), "envoy")["resources"]["limits"]["memory"]
    heap = (
        MATRIX[name]["config"].get("ingress", {}).get("limits", {}).get("heap_mib", IngressLimits().heap_mib)
    )
    assert int(limit.removesuffix("Mi")) >= 1.2 * heap


@every_rendering
def test_selectors_find_the_serving_pods_and_no_others(name: str) -> None:
    """Pods of hooks and tests carry other labels, so that no client is sent to them and no budget counts them."""
    found = rendered(name)
    selectors = [
        workload(found)["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in named(found, "Service")),
        *(each["spec"]["selector"]["matchLabels"] for each in named(found, "PodDisruptionBudget")),
        *(each["spec"]["podSelector"]["matchLabels"] for each in named(found, "NetworkPolicy")),
        *(
            each["labelSelector"]["matchLabels"]
            for each in pod_of(found).get("topologySpreadConstraints", ())
        ),
    ]
    matching = [has for has, _ in pods(found) if all(each.items() <= has.items() for each in selectors)]
    assert matching == [workload(found)["spec"]["template"]["metadata"]["labels"]]
    for has, _ in pods(found):
        for each in selectors:
            assert (each.items() <= has.items()) is (has["app.kubernetes.io/component"] == "gateway")
        assert has["app.kubernetes.io/instance"] == RELEASE


@every_rendering
def test_ports_have_the_names_that_others_use(name: str) -> None:
    """Services and network policies lead to ports that containers open, with TCP and UDP told apart."""
    found = rendered(name)
    opened = {
        (port["name"], port["containerPort"], port.get("protocol", "TCP"))
        for each in ("processor", "envoy")
        for port in container(found, each)["ports"]
    }
    for service in named(found, "Service"):
        for port in service["spec"]["ports"]:
            assert (port["targetPort"], port.get("protocol", "TCP")) in {(n, p) for n, _, p in opened}
    for policy in named(found, "NetworkPolicy"):
        admitted = {
            (port["port"], port["protocol"]) for rule in policy["spec"]["ingress"] for port in rule["ports"]
        }
        assert admitted == {(n, p) for name_, n, p in opened if name_ != "health"}
    for monitor in named(found, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (each for each in named(found, "Service") if wanted <= labels(each).items())
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
            each["name"] for each in service["spec"]["ports"]
        }


def test_the_public_port_is_offered_for_http3() -> None:
    """`alt-svc` names the Service's port, not the pod's."""
    found = rendered("own certificate, HTTP/3, a balancer")
    assert option(container(found, "render"), "--public-port") == "8443"
    assert [port["port"] for port in one(found, "Service")["spec"]["ports"]] == [8443, 8443]


@every_rendering
def test_several_pods_share_everything_and_may_be_moved_one_by_one(name: str) -> None:
    found, values = rendered(name), MATRIX[name]
    each_node = workload(found)["kind"] == "DaemonSet"
    several = values.get("replicas", 1) > 1 or values.get("autoscaling", {}).get("enabled", False)
    assert len(named(found, "PodDisruptionBudget")) == (several and not each_node)
    assert ("database:" in configuration(found)) is (several or each_node)
    counted_by_others = each_node or bool(named(found, "HorizontalPodAutoscaler"))
    assert (workload(found)["spec"].get("replicas") is None) is counted_by_others


def test_one_pod_keeps_its_log_and_the_logs_memory_apart() -> None:
    """Two volumes, because a backup of the first must not bring back the second."""
    found = rendered("one pod")
    claims = {
        each["metadata"]["name"]: each["spec"] for each in workload(found)["spec"]["volumeClaimTemplates"]
    }
    assert {name: each["resources"]["requests"]["storage"] for name, each in claims.items()} == {
        "state": "20Gi",
        "memory": "1Gi",
    }
    processor = container(found, "processor")
    mounts = {each["name"]: each["mountPath"] for each in processor["volumeMounts"]}
    assert option(processor, "--state-dir") == mounts["state"]
    assert option(processor, "--checkpoint-dir").startswith(mounts["memory"] + "/")
    keep = workload(found)["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert set(keep.values()) == {"Retain"}


def test_on_each_node_it_is_for_the_pods_of_that_node() -> None:
    """A new pod is ready before the old one goes. Pods that are spread by nodes need no other spread."""
    found = rendered("on each node")
    assert workload(found)["kind"] == "DaemonSet"
    assert workload(found)["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = workload(found)["spec"]["template"]["spec"]
    assert "topologySpreadConstraints" not in pod
    assert pod["tolerations"] == [{"key": "ml", "operator": "Exists"}]
    assert one(found, "Service")["spec"]["internalTrafficPolicy"] == "Local"


@pytest.mark.parametrize(
    ("name", "told", "policy"),
    [
        ("several pods", "", None),
        ("several pods", "Local", "Local"),
        ("on each node", "Cluster", "Cluster"),
    ],
)
def test_whose_calls_stay_on_their_node_may_be_told(name: str, told: str, policy: str | None) -> None:
    found = manifests(merged(MATRIX[name], {"service": {"internalTrafficPolicy": told}}))
    assert one(found, "Service")["spec"].get("internalTrafficPolicy") == policy


def test_without_volumes_it_is_a_deployment() -> None:
    found = rendered("deployment, scaled by calls")
    assert workload(found)["kind"] == "Deployment"
    (scaler,) = named(found, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["kind"] == "Deployment"
    assert [each["type"] for each in scaler["spec"]["metrics"]] == ["Pods", "Resource"]
    assert scaler["spec"]["metrics"][0]["pods"] == {
        "metric": {"name": "sovereign_calls_in_flight"},
        "target": {"type": "AverageValue", "averageValue": "200"},
    }


@pytest.mark.parametrize(
    ("name", "action"), [("several pods", "status"), ("deployment, scaled by calls", "upgrade")]
)
def test_the_database_is_looked_at_before_an_upgrade(name: str, action: str) -> None:
    """A hook with a configuration of its own: the release's ConfigMap is still the old one then."""
    found = rendered(name)
    job, settings = one(found, "Job", "database"), one(found, "ConfigMap", "database")
    for each in (job, settings):
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (settings, job)]
    assert weights == sorted(set(weights))
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert "serviceAccountName" not in pod  # it may be new in this release
    (made,) = pod["containers"]
    assert made["command"] == ["sovereign", "db", action]
    assert {"configMap": {"name": settings["metadata"]["name"]}, "name": "config"} in pod["volumes"]
    roots = {"name": "secret-0", "mountPath": "/run/secrets/providers", "readOnly": True}
    assert roots in made["volumeMounts"]
    assert roots in container(found, "processor")["volumeMounts"]
    text = settings["data"]["sovereign.yaml"]
    stored = {each["name"] for each in made["env"]}
    assert stored >= set(re.findall(r"(?:env|url_env): (\w+)", text))
    config = decode(text.encode(), "sovereign.yaml").config
    assert config.storage == decode(configuration(found).encode(), "sovereign.yaml").config.storage


@pytest.mark.parametrize("name", ["one pod", "several pods", "everything turned"])
def test_variables_that_the_configuration_names_are_set(name: str) -> None:
    found = rendered(name)
    set_ = {each["name"] for each in container(found, "processor").get("env", ())}
    assert set_ >= set(re.findall(r"url_env: (\w+)", configuration(found)))


def test_without_keys_tiles_are_signed_by_the_pods_role() -> None:
    """Neither the configuration nor a variable names a key; the service account has the role."""
    found, keyed = rendered("tiles by the pod's role"), rendered("several pods")
    for each, named_ in ((found, False), (keyed, True)):
        tiles = decode(configuration(each).encode(), "sovereign.yaml").config.storage.tiles
        assert tiles is not None
        assert tiles.s3 is not None
        assert (tiles.s3.access_key_id is not None) is named_
        variables = {variable["name"] for variable in container(each, "processor")["env"]}
        assert ("SOVEREIGN_TILES_SECRET" in variables) is named_
    account = one(found, "ServiceAccount")
    assert list(account["metadata"]["annotations"]) == ["eks.amazonaws.com/role-arn"]
    assert pod_of(found)["serviceAccountName"] == account["metadata"]["name"] == "router"


def test_one_pod_has_no_hook() -> None:
    """SQLite is migrated by the start itself."""
    assert not named(rendered("one pod"), "Job")


RESTARTS: dict[str, tuple[Values, dict[str, Any], bool]] = {
    "a tenant": (ONE_POD, {"config": {"tenants": []}}, False),
    "a limit": (ONE_POD, {"config": {"limits": {"max_request_bytes": 4096}}}, True),
    "TLS": (ONE_POD, {"tls": {"certManager": {"enabled": False}}}, True),
    "the bucket": (SHARED, {"storage": {"shared": {"s3": {"bucket": "another"}}}}, True),
    "the monitor": (SHARED, {"metrics": {"serviceMonitor": {"interval": "10s"}}}, False),
}


@pytest.mark.parametrize("name", RESTARTS)
def test_pods_are_replaced_for_what_a_running_gateway_cannot_take_up(name: str) -> None:
    """The rest of sovereign.yaml is followed: a new tenant ends nobody's stream."""
    base, change, replaced = RESTARTS[name]
    before, after = manifests(base), manifests(merged(base, change))
    assert (workload(before)["spec"]["template"] != workload(after)["spec"]["template"]) is replaced


def test_the_test_makes_its_calls_from_outside_of_the_pods() -> None:
    """A pod of its own with the script, a tenant's key by reference, and nothing of the certificate but its roots."""
    found = rendered("one pod")
    test = one(found, "Pod", "test")
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    variables = {each["name"]: each for each in test["spec"]["containers"][0]["env"]}
    assert variables["BASE_URL"]["value"] == "https://demo-sovereign-router.gateway-ns.svc:443"
    assert variables["API_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "clinic-key", "key": "api-key"}}
    (roots,) = (each["secret"] for each in test["spec"]["volumes"] if "secret" in each)
    assert roots["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    compile(one(found, "ConfigMap", "test")["data"]["calls.py"], "calls.py", "exec")


def test_clients_that_are_listed_and_the_test_are_all_that_may_call() -> None:
    (policy,) = named(rendered("clients with certificates"), "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    has = labels(one(rendered("clients with certificates"), "Pod", "test"))
    given, test = rule["from"]
    assert given == {"podSelector": {}}
    assert test["podSelector"]["matchLabels"].items() <= has.items()
