"""values.schema.json: what does not fit together is refused, with the place and what would do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from helm_world import BY_ROLE, CHART, MATRIX, ONE_POD, SHARED, Values, merged, template

pytestmark = pytest.mark.services

SQLITE = {"storage": {"mode": "embedded"}}
EACH_NODE = {"daemonSet": {"enabled": True}, "storage": {"persistence": {"enabled": False}}}
OFF = {"tls": {"certManager": {"enabled": False}}}

REFUSED: dict[str, tuple[Values, Values, str]] = {
    "no image": (ONE_POD, {"image": {"repository": ""}}, "'/image/repository': minLength"),
    "a tag in the name": (ONE_POD, {"image": {"repository": "a.example/b:1"}}, "'/image/repository'"),
    "no name of the log": (ONE_POD, {"config": {"origin": ""}}, "'/config/origin': minLength"),
    "an unknown value": (ONE_POD, {"replcas": 2}, "additional properties 'replcas' not allowed"),
    "two pods on SQLite": (ONE_POD, {"replicas": 2}, "'/storage/mode': value must be 'shared'"),
    "scaled on SQLite": (
        ONE_POD,
        {"autoscaling": {"enabled": True}},
        "'/storage/mode': value must be 'shared'",
    ),
    "a DaemonSet on SQLite": (
        ONE_POD,
        {"daemonSet": {"enabled": True}},
        "'/storage/mode': value must be 'shared'",
    ),
    "a DaemonSet with volumes": (
        SHARED,
        {"daemonSet": {"enabled": True}},
        "'/storage/persistence/enabled': value must be false",
    ),
    "a DaemonSet that is scaled": (
        SHARED,
        {**EACH_NODE, "autoscaling": {"enabled": True}},
        "'/autoscaling/enabled': value must be false",
    ),
    "a policy of traffic that there is not": (
        SHARED,
        {"service": {"internalTrafficPolicy": "Near"}},
        "'/service/internalTrafficPolicy'",
    ),
    "SQLite without a volume": (
        ONE_POD,
        {"storage": {"persistence": {"enabled": False}}},
        "'/storage/persistence/enabled': value must be true",
    ),
    "shared without a database": (
        SHARED,
        {"storage": {"shared": {"database": {"secret": ""}}}},
        "database/secret",
    ),
    "shared without Valkey": (SHARED, {"storage": {"shared": {"valkey": {"secret": ""}}}}, "valkey/secret"),
    "shared without the hash secret": (
        SHARED,
        {"storage": {"shared": {"keyHash": {"secret": ""}}}},
        "keyHash/secret",
    ),
    "shared without log keys": (SHARED, {"storage": {"shared": {"claim": ""}}}, "'/storage/shared/claim'"),
    "a URL for a Secret's name": (
        SHARED,
        {"storage": {"shared": {"database": {"secret": "postgresql://u:p@db/n"}}}},
        "'/storage/shared/database/secret'",
    ),
    "a bucket without its name": (
        ONE_POD,
        {"storage": {"shared": {"s3": {"endpoint": "https://s3.example"}}}},
        "at '/storage/shared/s3': properties 'bucket' required, if 'endpoint' exists",
    ),
    "names of keys without their Secret": (
        BY_ROLE,
        {"storage": {"shared": {"s3": {"accessKeyIdKey": "id"}}}},
        "at '/storage/shared/s3': properties 'secret' required, if 'accessKeyIdKey' exists",
    ),
    "a bucket in the clear": (
        SHARED,
        {"storage": {"shared": {"s3": {"endpoint": "http://s3.example"}}}},
        "'/storage/shared/s3/endpoint'",
    ),
    "storage in sovereign.yaml": (
        ONE_POD,
        {"config": {"storage": {"key_hash": {"env": "A"}}}},
        "the value `storage` beside `config` says it",
    ),
    "a certificate in sovereign.yaml": (
        ONE_POD,
        {"config": {"ingress": {"tls": {"certificate_file": "a.crt"}}}},
        "the value `tls` says it",
    ),
    "clients' certificates without TLS": (
        ONE_POD,
        {**OFF, "config": {"ingress": {"tls": {"client_ca_file": "/a"}}}},
        "it takes the value `tls.secret` or `tls.certManager`",
    ),
    "HTTP/3 without TLS": (
        ONE_POD,
        {**OFF, "config": {"ingress": {"http3": True}}},
        "'/config/ingress/http3'",
    ),
    "two certificates": (ONE_POD, {"tls": {"secret": "mine"}}, "'/tls/secret': value must be ''"),
    "no issuer": (ONE_POD, {"tls": {"certManager": {"issuer": {"name": ""}}}}, "issuer/name"),
    "scaled by nothing": (SHARED, {"autoscaling": {"enabled": True, "cpuPercent": None}}, "'/autoscaling"),
    "scaled by metrics that are off": (
        SHARED,
        {
            "autoscaling": {"enabled": True, "callsInFlight": 9},
            "metrics": {"enabled": False, "serviceMonitor": {"enabled": False}},
        },
        "'/metrics/enabled': value must be true",
    ),
    "a monitor of metrics that are off": (SHARED, {"metrics": {"enabled": False}}, "'/metrics/enabled'"),
    "our own variables": (ONE_POD, {"processor": {"env": {"SOVEREIGN_KEY__A": "sk-1"}}}, "SOVEREIGN_KEY__A"),
    "a secret as a value": (
        ONE_POD,
        {"secrets": {"env": [{"name": "A", "secret": "b", "key": "c", "value": "sk-1"}]}},
        "additional properties 'value' not allowed",
    ),
    "secrets over our directories": (
        ONE_POD,
        {"secrets": {"files": [{"secret": "a", "path": "/var/lib/sovereign"}]}},
        "'/secrets/files/0/path'",
    ),
    "memory without a limit": (
        ONE_POD,
        {"processor": {"resources": {"limits": {"memory": None}}}},
        "'/processor/resources/limits'",
    ),
    "a drain of no time": (ONE_POD, {"drain": {"longestStreamSeconds": 0}}, "'/drain/longestStreamSeconds'"),
    "a test without a model": (ONE_POD, {"test": {"model": ""}}, "'/test/model'"),
    "external secrets of no store": (
        SHARED,
        {"externalSecrets": {"store": {"name": ""}}},
        "'/externalSecrets/store",
    ),
    "security that is loosened": (
        ONE_POD,
        {"pod": {"securityContext": {}}},
        "additional properties 'securityContext'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    """Before anything is rendered. A typing error in the name of a value is one, too."""
    base, change, reason = REFUSED[name]
    done = template(merged(base, change))
    assert done.returncode != 0, done.stdout
    assert reason in done.stderr
    assert done.stdout == ""


def test_the_defaults_alone_are_refused() -> None:
    """Nobody installs a gateway without a name of its log, from an image that somebody else may have put there."""
    done = template({})
    assert "'/image/repository'" in done.stderr
    assert "'/config/origin'" in done.stderr


@pytest.mark.parametrize(("release", "fits"), [("1.28.15", False), ("1.29.0", True), ("1.37.2-eks-1", True)])
def test_an_older_kubernetes_is_refused(release: str, fits: bool) -> None:
    """It would start Envoy before the processor, and stop both at once."""
    done = template(MATRIX["one pod"], "--kube-version", release)
    assert (done.returncode == 0) is fits
    assert fits or "kubeVersion" in done.stderr


def test_every_value_has_a_type() -> None:
    """The schema says something about each value of values.yaml, so that no name passes by accident."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    def unsaid(part: dict[str, Any], said: dict[str, Any], path: str) -> list[str]:
        if "$ref" in said:
            said = schema["definitions"][said["$ref"].rsplit("/", 1)[1]]
        if "properties" not in said:
            return []
        missing = [f"{path}{name}" for name in part if name not in said["properties"]]
        for name, value in part.items():
            if isinstance(value, dict) and name in said["properties"]:
                missing += unsaid(value, said["properties"][name], f"{path}{name}.")
        return missing

    assert unsaid(values, schema, "") == []
