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
    condition     = alltrue([for name in ["database-url", "counters-url", "key-hash", "tls"] : contains(keys(output.secret_arns), name)])
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
