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
  eks = {
    cluster_name      = "prod"
    image             = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sovereign-router@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    secrets_reader    = { namespace = "external-secrets", service_account = "external-secrets" }
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

run "on_eks_with_a_store_that_is_there" {
  command = plan

  variables {
    eks = {
      cluster_name      = "prod"
      security_group_id = "sg-0a1b2c3d4e5f60718"
      log_keys_role_arn = "arn:aws:iam::123456789012:role/efs-csi-node"
      secret_store      = { name = "aws", kind = "ClusterSecretStore" }
    }
  }

  assert {
    condition     = yamldecode(output.helm_values).externalSecrets.store == { name = "aws", kind = "ClusterSecretStore" }
    error_message = "The store that is named is used."
  }

  assert {
    condition     = !can(yamldecode(output.helm_values).image)
    error_message = "An image that nobody named is left to other values."
  }
}
