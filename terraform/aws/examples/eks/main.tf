# Stores, keys and rights for a router on an EKS cluster that is there. See docs/deploy/aws.md.

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

  eks = {
    cluster_name      = var.cluster_name
    security_group_id = var.security_group_id
    log_keys_role_arn = var.efs_csi_role_arn
  }
}

output "eks" {
  description = "Annotations of the Service, role for External Secrets"
  value       = module.sovereign_router.eks
}

output "configuration" {
  description = "For a ConfigMap"
  value       = module.sovereign_router.configuration
}

output "log_keys" {
  description = "For a persistent volume"
  value       = module.sovereign_router.log_keys
}

output "secret_arns" {
  description = "For External Secrets; fill in `tls`"
  value       = module.sovereign_router.secret_arns
}
