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
    image             = var.image
    secrets_reader    = { namespace = "external-secrets", service_account = "external-secrets" }
    security_group_id = var.security_group_id
    log_keys_role_arn = var.efs_csi_role_arn
  }
}

output "helm_values" {
  description = "For `helm install -f`"
  value       = module.sovereign_router.helm_values
}

output "kubernetes_objects" {
  description = "For `kubectl apply -f`, before"
  value       = module.sovereign_router.kubernetes_objects
}

output "router_role_arn" {
  description = "What providers' accounts let in"
  value       = module.sovereign_router.router_role_arn
}
