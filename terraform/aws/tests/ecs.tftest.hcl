# AWS is mocked: these runs need no account and make nothing.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }

  # The provider itself looks at the form of these.
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/mocked" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/mocked/0123456789abcdef" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/mocked/0123456789abcdef" }
  }

  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/mocked:1" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mocked" }
  }

  mock_resource "aws_efs_file_system" {
    defaults = { arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123456789abcdef0" }
  }

  mock_resource "aws_efs_access_point" {
    defaults = { arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0" }
  }
}

override_resource {
  target = module.keys.aws_kms_key.this["data"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-0000-0000-0000-000000000000", key_id = "11111111-0000-0000-0000-000000000000" }
}

override_resource {
  target = module.keys.aws_kms_key.this["secrets"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/22222222-0000-0000-0000-000000000000", key_id = "22222222-0000-0000-0000-000000000000" }
}

override_resource {
  target = module.keys.aws_kms_key.this["wrapping"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/33333333-0000-0000-0000-000000000000", key_id = "33333333-0000-0000-0000-000000000000" }
}

variables {
  vpc_id             = "vpc-0a1b2c3d4e5f60718"
  private_subnet_ids = ["subnet-0a1b2c3d4e5f60718", "subnet-1a1b2c3d4e5f60718"]
  client_cidrs       = ["10.0.0.0/8"]
  configuration      = file("tests/fixtures/sovereign.yaml")
  database_ca        = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
  bedrock_model_arns = [
    "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
  ]
  ecs = {
    image               = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sovereign-router@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    envoy_image         = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/envoy@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
    ecr_repository_arns = ["arn:aws:ecr:eu-central-1:123456789012:repository/sovereign-router", "arn:aws:ecr:eu-central-1:123456789012:repository/envoy"]
  }
}

run "on_ecs" {
  command = apply

  assert {
    condition     = output.eks == null && output.ecs != null && output.balancer != null
    error_message = "With `ecs` there is a service and nothing for Kubernetes."
  }

  assert {
    condition     = yamldecode(output.configuration).storage.tiles.s3.bucket == "sovereign-tiles-123456789012"
    error_message = "The bucket is named for the account."
  }

  assert {
    condition     = yamldecode(output.configuration).storage.tiles.s3.endpoint == "https://s3.eu-central-1.amazonaws.com"
    error_message = "Tiles go to the region's endpoint."
  }

  assert {
    condition     = yamldecode(output.configuration).ingress.limits.connections == 2000
    error_message = "What the configuration says of `ingress` stays beside `tls`."
  }

  assert {
    condition     = yamldecode(output.configuration).providers == yamldecode(file("tests/fixtures/sovereign.yaml")).providers
    error_message = "What the configuration says goes through as it is."
  }

  assert {
    condition     = alltrue([for name in ["database-url", "counters-url", "key-hash", "tls", "tiles"] : contains(keys(output.secret_arns), name)])
    error_message = "Every secret that a router reads has its place."
  }
}

run "on_ecs_stopped_for_a_migration" {
  command = plan

  variables {
    ecs = {
      image       = "registry.example/sovereign-router@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      envoy_image = "registry.example/envoy@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
      replicas    = 0
    }
  }

  assert {
    condition     = yamldecode(output.configuration).storage.log_keys_dir == "/var/lib/sovereign-log-keys"
    error_message = "A service without tasks is a plan like any other."
  }
}
