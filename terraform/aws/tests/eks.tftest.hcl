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
  eks = {
    cluster_name      = "prod"
    security_group_id = "sg-0a1b2c3d4e5f60718"
    log_keys_role_arn = "arn:aws:iam::123456789012:role/efs-csi-node"
  }
}

run "on_eks" {
  command = apply

  assert {
    condition     = output.ecs == null && output.balancer == null && output.eks != null
    error_message = "With `eks` there is no service of ECS and no balancer of ours."
  }

  assert {
    condition     = output.eks.service_annotations["service.beta.kubernetes.io/aws-load-balancer-listener-attributes.TCP-443"] == "tcp.idle_timeout.seconds=3600"
    error_message = "The balancer that Kubernetes makes leaves idle streams alone, too."
  }

  assert {
    condition     = output.eks.service_annotations["service.beta.kubernetes.io/aws-load-balancer-scheme"] == "internal"
    error_message = "Nothing is public unless it is said."
  }

  assert {
    condition     = output.router_security_group_id == "sg-0a1b2c3d4e5f60718"
    error_message = "The pods keep their own group."
  }
}
