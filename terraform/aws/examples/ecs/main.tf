# A router on ECS Fargate, for one network, with Claude on Bedrock. See docs/deploy/aws.md.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.69, < 7.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

module "sovereign_router" {
  source = "../.."

  vpc_id             = var.vpc_id
  private_subnet_ids = var.private_subnet_ids
  client_cidrs       = ["10.0.0.0/8"]

  configuration = file("${path.module}/sovereign.yaml")
  database_ca   = file(var.database_ca_file)

  bedrock_model_arns = [
    "arn:aws:bedrock:eu-central-1:${var.account_id}:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
  ]

  ecs = {
    image       = var.image
    envoy_image = var.envoy_image
    replicas    = var.replicas
  }
}

output "balancer" {
  description = "Where a DNS name of yours points to"
  value       = module.sovereign_router.balancer
}

output "secret_arns" {
  description = "Fill in `tls`"
  value       = module.sovereign_router.secret_arns
}
