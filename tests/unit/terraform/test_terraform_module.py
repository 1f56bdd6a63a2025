"""The AWS module by Terraform's own word: format, names and types of arguments, its tests; and what it would make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terraform_world import MODULE, Made, Terraform, as_list

pytestmark = pytest.mark.services

ACCOUNT = "123456789012"
SECRETS = f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:"


def test_the_format_is_terraforms(terraform: Terraform) -> None:
    """``terraform fmt -check`` has nothing to change."""
    done = terraform.run(MODULE, "fmt", "-check", "-recursive", "-list=true", "-write=false")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("directory", [".", "examples/ecs", "examples/eks"])
def test_it_is_valid(terraform: Terraform, module: Path, directory: str) -> None:
    """``terraform validate``: references, types, and arguments by the AWS provider's schema."""
    where = module / directory
    if directory != ".":
        terraform.prepared(where)
    done = terraform.run(where, "validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("tcp_idle_timeout_secs = 60", 'An argument named "tcp_idle_timeout_secs" is not expected here'),
        ("port = [443]", "number required, but have tuple"),
        ("default_actions {}", 'Blocks of type "default_actions" are not expected here'),
    ],
)
def test_the_judge_knows_the_provider(terraform: Terraform, tmp_path: Path, given: str, fault: str) -> None:
    """A wrong argument, type or block is found, so what passes was looked at."""
    listener = f"""
      load_balancer_arn = "a"
      default_action {{
        type = "forward"
      }}
      {given}
    """
    (tmp_path / "main.tf").write_text(f'resource "aws_lb_listener" "l" {{{listener}}}\n', "utf-8")
    done = terraform.run(terraform.prepared(tmp_path), "validate", "-no-color")
    assert done.returncode == 1
    assert fault in " ".join((done.stdout + done.stderr).split())


def test_no_right_is_a_wildcard(made: dict[str, Made]) -> None:
    """Each right names its actions and its resources; only a login at ECR knows no resource."""
    for run in made.values():
        for address, statements in run.policies().items():
            for statement in statements:
                where = f"{address} {statement['Sid']}"
                assert statement["Effect"] == "Allow", where
                actions = as_list(statement["Action"])
                assert not any("*" in action for action in actions), where
                if actions != ["ecr:GetAuthorizationToken"]:
                    assert "*" not in as_list(statement["Resource"]), where


def test_what_a_router_may_do(ecs: Made, eks: Made) -> None:
    """The models that are listed, its provider keys, its wrapping key in its context, its tiles, its log's keys."""
    for run in (ecs, eks):
        keys = run.keys()
        statements = run.policies()["module.identity.aws_iam_role_policy.router"]
        rights = {statement["Sid"]: statement for statement in statements}
        mounts = {"MountTheLogsKeys"} if run is ecs else set()  # on EKS a driver does
        assert set(rights) == mounts | {
            "CallTheModelsThatAreListed", "OpenProviderKeys", "ReadProviderKeys", "WrapTheMasterKey",
            "TilesAndCheckpoint", "WhatIsThere", "EncryptTiles",
        }  # fmt: skip
        models = rights["CallTheModelsThatAreListed"]
        assert models["Action"] == ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
        assert all(
            arn.startswith("arn:aws:bedrock:") and "claude-sonnet-4-5" in arn for arn in models["Resource"]
        )
        assert rights["ReadProviderKeys"]["Resource"] == f"{SECRETS}sovereign/keys/*"
        assert rights["OpenProviderKeys"]["Resource"] == keys["secrets"]
        assert rights["OpenProviderKeys"]["Condition"] == {
            "StringEquals": {"kms:ViaService": "secretsmanager.eu-central-1.amazonaws.com"}
        }
        wrap = rights["WrapTheMasterKey"]
        assert (wrap["Action"], wrap["Resource"]) == (["kms:Encrypt", "kms:Decrypt"], keys["wrapping"])
        assert wrap["Condition"] == {
            "StringEquals": {"kms:EncryptionContext:purpose": "sovereign-router-keystore"}
        }


def test_startup_secrets_are_not_the_routers(ecs: Made) -> None:
    """Who starts a task reads them, by their ARNs; the router's role does not."""
    arns = sorted(values["arn"] for values in ecs.all("secretsmanager_secret").values())
    assert len(arns) == 4
    (read, opened) = ecs.policies()["module.identity.aws_iam_policy.startup"]
    assert sorted(read["Resource"]) == arns
    assert opened["Action"] == "kms:Decrypt"
    attached = ecs.one("iam_role_policy_attachment")
    assert attached["role"] == "sovereign-execution"


def test_the_router_writes_tiles_with_its_role(ecs: Made) -> None:
    """What docs/reference/log.md names, on one prefix; no version, no lock, and no user who would have a key for it."""
    statements = ecs.policies()["module.identity.aws_iam_role_policy.router"]
    rights = {statement["Sid"]: statement for statement in statements}
    bucket = ecs.one("s3_bucket")["arn"]
    tiles, listing = rights["TilesAndCheckpoint"], rights["WhatIsThere"]
    assert tiles["Action"] == ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    assert tiles["Resource"] == f"{bucket}/log/*"
    assert (listing["Action"], listing["Resource"]) == ("s3:ListBucket", bucket)
    assert rights["EncryptTiles"]["Condition"] == {
        "StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}
    }
    assert not {kind for kind in ecs.types() if kind.startswith("aws_iam_user")}


def test_nothing_secret_is_in_the_state(made: dict[str, Made]) -> None:
    """Passwords are written only: the state has their versions and not them."""
    for run in made.values():
        for kind, names in {
            "db_instance": ("password", "password_wo"),
            "elasticache_user": ("passwords", "passwords_wo"),
            "elasticache_replication_group": ("auth_token", "auth_token_wo"),
            "secretsmanager_secret_version": ("secret_string", "secret_string_wo", "secret_binary"),
        }.items():
            for values in run.all(kind).values():
                assert [name for name in names if values.get(name)] == []
        secrets = run.all("secretsmanager_secret_version")
        roots = {
            address for address in secrets if ".database_ca[" in address
        }  # public, and not in the state either
        assert len(secrets) - len(roots) == 3
        assert run.one("db_instance")["password_wo_version"] == 1


def test_everything_is_encrypted_with_our_keys(made: dict[str, Made]) -> None:
    """At rest by KMS, on the way by TLS that the server insists on."""
    for run in made.values():
        keys = run.keys()
        assert all(values["enable_key_rotation"] for values in run.all("kms_key").values())
        database, counters = run.one("db_instance"), run.one("elasticache_replication_group")
        assert (database["storage_encrypted"], database["kms_key_id"]) == (True, keys["data"])
        parameters = {item["name"]: item["value"] for item in run.one("db_parameter_group")["parameter"]}
        assert parameters["rds.force_ssl"] == "1"
        assert (counters["at_rest_encryption_enabled"], counters["kms_key_id"]) in (
            (True, keys["data"]),
            ("true", keys["data"]),
        )
        assert (counters["transit_encryption_enabled"], counters["transit_encryption_mode"]) == (
            True,
            "required",
        )
        files = run.one("efs_file_system")
        assert (files["encrypted"], files["kms_key_id"]) == (True, keys["data"])
        assert all(
            secret["kms_key_id"] == keys["secrets"] for secret in run.all("secretsmanager_secret").values()
        )
        assert all(group["kms_key_id"] == keys["data"] for group in run.all("cloudwatch_log_group").values())
        (rule,) = run.one("s3_bucket_server_side_encryption_configuration")["rule"]
        assert rule["apply_server_side_encryption_by_default"][0]["kms_master_key_id"] == keys["data"]
        denied = {
            json.loads(values["policy"])["Statement"][-1]["Condition"]["Bool"]["aws:SecureTransport"]
            for values in (run.one("s3_bucket_policy"), run.one("efs_file_system_policy"))
        }
        assert denied == {"false"}


def test_nothing_is_lost_by_a_slip(ecs: Made) -> None:
    """Protection from deletion, a synchronous standby, backups, versions under a lock."""
    database = ecs.one("db_instance")
    assert (database["deletion_protection"], database["multi_az"], database["skip_final_snapshot"]) == (
        True,
        True,
        False,
    )
    assert database["backup_retention_period"] == 14
    assert ecs.one("lb")["enable_deletion_protection"] is True
    assert ecs.one("s3_bucket")["object_lock_enabled"] is True
    assert ecs.one("s3_bucket")["force_destroy"] is False
    assert ecs.one("s3_bucket_versioning")["versioning_configuration"][0]["status"] == "Enabled"
    retention = ecs.one("s3_bucket_object_lock_configuration")["rule"][0]["default_retention"][0]
    assert (retention["mode"], retention["days"]) == ("GOVERNANCE", 30)
    assert ecs.one("efs_backup_policy")["backup_policy"][0]["status"] == "ENABLED"


def test_nothing_is_public(ecs: Made, eks: Made) -> None:
    """Every way in names a group on the other side, but for clients, who are named by their networks."""
    for run in (ecs, eks):
        assert run.one("db_instance")["publicly_accessible"] is False
        block = run.one("s3_bucket_public_access_block")
        assert all(
            value is True
            for name, value in block.items()
            if name.startswith(("block_", "ignore_", "restrict_"))
        )
        ingress: dict[str, Any] = run.all("vpc_security_group_ingress_rule")
        ports = {(rule["from_port"], rule["to_port"], rule["ip_protocol"]) for rule in ingress.values()}
        stores = {(5432, 5432, "tcp"), (6379, 6379, "tcp"), (2049, 2049, "tcp")}
        assert ports == (stores | {(443, 443, "tcp"), (8443, 8443, "tcp")} if run is ecs else stores)
        networks = [rule["cidr_ipv4"] for rule in ingress.values() if rule.get("cidr_ipv4")]
        assert networks == (["10.0.0.0/8"] if run is ecs else [])
    assert ecs.one("lb")["internal"] is True
    assert ecs.one("ecs_service")["network_configuration"][0]["assign_public_ip"] is False


def test_streams_are_left_alone(ecs: Made) -> None:
    """TCP is passed on, with an idle limit of an hour; a task that goes has a quarter of one for its streams."""
    listener, group = ecs.one("lb_listener"), ecs.one("lb_target_group")
    assert (listener["protocol"], listener["tcp_idle_timeout_seconds"]) == ("TCP", 3600)
    assert (group["protocol"], group["deregistration_delay"]) in (("TCP", "900"), ("TCP", 900))
    assert (group["health_check"][0]["protocol"], group["health_check"][0]["path"]) == ("HTTPS", "/healthz")


def test_valkey_as_operations_wants_it(ecs: Made) -> None:
    """No eviction, no cluster mode, and the rights that the page names."""
    parameters = {item["name"]: item["value"] for item in ecs.one("elasticache_parameter_group")["parameter"]}
    assert parameters == {"maxmemory-policy": "noeviction"}
    user, default = ecs.one("elasticache_user", ".router"), ecs.one("elasticache_user", ".default")
    assert default["access_string"].split() == ["off", "~sf:*", "-@all"]
    page = (MODULE.parents[1] / "docs/operations.md").read_text("utf-8")
    rights = "+@scripting +@read +@write +@connection +info +time ~sf:*"
    assert rights in page
    assert set(rights.split()) == set(user["access_string"].split()) - {"on", "-@all"}
