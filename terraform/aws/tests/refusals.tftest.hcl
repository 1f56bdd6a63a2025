# AWS is mocked: these runs need no account and make nothing.
mock_provider "aws" {
  source = "./tests/aws"
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

run "of_the_wrong_form" {
  command = plan

  variables {
    name               = "a-name-that-is-too-long"
    vpc_id             = "main"
    private_subnet_ids = ["subnet-0a1b2c3d4e5f60718"]
    configuration      = "version: [1"
    database_ca        = "none"
    s3_vpc_endpoint_id = "s3"
    ecs = {
      image       = "registry.example/sovereign-router:latest"
      envoy_image = "registry.example/envoy@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    }
    alarm_topic_arns = ["pager"]
  }

  expect_failures = [
    var.name,
    var.vpc_id,
    var.private_subnet_ids,
    var.configuration,
    var.database_ca,
    var.s3_vpc_endpoint_id,
    var.ecs,
    var.alarm_topic_arns,
  ]
}

run "too_much_for_the_router" {
  command = plan

  variables {
    bedrock_model_arns = ["*"]
    provider_role_arns = ["arn:aws:iam::123456789012:role/*"]
    client_cidrs       = []
    configuration      = "version: 1\norigin: a.example/log\nstorage: {}\n"
    ecs = {
      image       = "registry.example/sovereign-router@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      envoy_image = "registry.example/envoy@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      environment = { SOVEREIGN_KEY__CLOUD = "sk-…" }
    }
    tiles    = { lock_mode = "NONE" }
    database = { backup_days = 0 }
  }

  expect_failures = [
    var.bedrock_model_arns,
    var.provider_role_arns,
    var.client_cidrs,
    var.configuration,
    var.ecs,
    var.tiles,
    var.database,
  ]
}

run "what_aws_has_not" {
  command = plan

  variables {
    idle_timeout_s = 30
    drain_s        = 86400
    tiles          = { bucket = "logs.example.org" }
    database       = { major_version = "12" }
    ecs = {
      image       = "registry.example/sovereign-router@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      envoy_image = "registry.example/envoy@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      cpu         = 3000
    }
    counters           = { nodes = 0 }
    passwords_version  = 0
    bedrock_model_arns = ["arn:aws:bedrock:eu-central-1::foundation-model/anthropic.*"]
    configuration      = "version: 1\norigin: a.example/log\ningress: {tls: {certificate_file: a, key_file: b}}\n"
  }

  expect_failures = [
    var.idle_timeout_s,
    var.drain_s,
    var.tiles,
    var.database,
    var.ecs,
    var.counters,
    var.passwords_version,
    var.bedrock_model_arns,
    var.configuration,
  ]
}

run "two_platforms_or_none" {
  command = plan

  variables {
    ecs           = null
    configuration = "version: 1\n"
    tiles         = { lock_days = 0 }
    https_cidrs   = ["anywhere"]
  }

  expect_failures = [
    var.ecs,
    var.configuration,
    var.tiles,
    var.https_cidrs,
  ]
}
