# SovereignRouter at AWS: stores, keys and rights, and either ECS Fargate or what an EKS cluster needs.
# docs/deploy/aws.md leads through it. Networks, certificates and images are yours.

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_partition" "this" {}

locals {
  account = {
    id         = data.aws_caller_identity.this.account_id
    region     = data.aws_region.this.region
    partition  = data.aws_partition.this.partition
    dns_suffix = data.aws_partition.this.dns_suffix
  }

  on_ecs = var.ecs != null
  tags   = merge({ Application = "sovereign-router", Router = var.name }, var.tags)

  # The same user in all containers: Envoy and the processor open each other's sockets and files. On EKS the chart's.
  user_id = local.on_ecs ? 10001 : 65532

  paths = {
    config      = "/etc/sovereign"
    run         = "/run/sovereign"
    state       = "/var/lib/sovereign"
    log_keys    = "/var/lib/sovereign-log-keys"
    database_ca = local.on_ecs ? "/etc/sovereign/database-ca.pem" : "${local.database_ca_directory}/ca.pem"
    roots       = "/etc/ssl/certs/ca-certificates.crt"
  }
}

module "keys" {
  source = "./modules/keys"

  name    = var.name
  account = local.account
  tags    = local.tags
}

module "network" {
  source = "./modules/network"

  name                     = var.name
  vpc_id                   = var.vpc_id
  makes_router_group       = local.on_ecs
  router_security_group_id = try(var.eks.security_group_id, null)
  https_cidrs              = var.https_cidrs
  tags                     = local.tags
}

module "data" {
  source = "./modules/data"

  name                = var.name
  subnet_ids          = var.private_subnet_ids
  security_group_ids  = module.network.store_security_group_ids
  key_arns            = module.keys.arns
  database            = var.database
  database_ca_path    = local.paths.database_ca
  kept_database_ca    = local.on_ecs ? null : trimspace(var.database_ca)
  counters            = var.counters
  tiles               = merge(var.tiles, { bucket = coalesce(var.tiles.bucket, "${var.name}-tiles-${local.account.id}") })
  log_keys_role_arn   = local.on_ecs ? module.identity.router_role_arn : var.eks.log_keys_role_arn
  passwords_version   = var.passwords_version
  deletion_protection = var.deletion_protection
  user_id             = local.user_id
  tags                = local.tags
}

module "identity" {
  source = "./modules/identity"

  name                = var.name
  account             = local.account
  assume_role_policy  = local.assume_role_policy
  key_arns            = module.keys.arns
  wrapping_context    = local.wrapping_context.purpose
  secret_arns         = module.data.secret_arns
  provider_key_prefix = local.provider_key_prefix
  bedrock_model_arns  = var.bedrock_model_arns
  provider_role_arns  = var.provider_role_arns
  log_keys            = module.data.log_keys
  mounts_log_keys     = local.on_ecs
  bucket_arn          = module.data.bucket.arn
  tiles_prefix        = local.tiles_prefix
  s3_vpc_endpoint_id  = var.s3_vpc_endpoint_id
  tags                = local.tags
}

module "ecs" {
  source = "./modules/ecs"
  count  = local.on_ecs ? 1 : 0

  name                     = var.name
  account                  = local.account
  vpc_id                   = var.vpc_id
  subnet_ids               = var.private_subnet_ids
  balancer_subnet_ids      = coalesce(var.ecs.balancer_subnet_ids, var.private_subnet_ids)
  internal                 = var.internal
  client_cidrs             = var.client_cidrs
  idle_timeout_s           = var.idle_timeout_s
  drain_s                  = var.drain_s
  router_security_group_id = module.network.router_security_group_id
  router_role_arn          = module.identity.router_role_arn
  startup_policy_arn       = module.identity.startup_policy_arn
  ecr_repository_arns      = var.ecs.ecr_repository_arns
  key_arns                 = module.keys.arns
  secret_arns              = module.data.secret_arns
  log_keys                 = module.data.log_keys
  image                    = var.ecs.image
  envoy_image              = var.ecs.envoy_image
  architecture             = var.ecs.architecture
  cpu                      = var.ecs.cpu
  memory_mib               = var.ecs.memory_mib
  replicas                 = var.ecs.replicas
  configuration            = local.configuration
  database_ca              = trimspace(var.database_ca)
  environment              = var.ecs.environment
  paths                    = local.paths
  user_id                  = local.user_id
  log_retention_days       = var.ecs.log_retention_days
  deletion_protection      = var.deletion_protection
  assume_role_policy       = local.assume_role_policy
  tags                     = local.tags
}

module "eks" {
  source = "./modules/eks"
  count  = local.on_ecs ? 0 : 1

  name               = var.name
  cluster_name       = var.eks.cluster_name
  namespace          = var.eks.namespace
  service_account    = var.eks.service_account
  secrets_reader     = var.eks.secrets_reader
  assume_role_policy = local.assume_role_policy
  router_role_arn    = module.identity.router_role_arn
  startup_policy_arn = module.identity.startup_policy_arn
  internal           = var.internal
  client_cidrs       = var.client_cidrs
  idle_timeout_s     = var.idle_timeout_s
  drain_s            = var.drain_s
  tags               = local.tags
}

module "alarms" {
  source = "./modules/alarms"

  name                = var.name
  with_service        = local.on_ecs
  database_identifier = module.data.database_identifier
  counters_id         = module.data.counters_id
  balancer            = one(module.ecs[*].dimensions)
  processor_log_group = one(module.ecs[*].processor_log_group)
  topic_arns          = var.alarm_topic_arns
  tags                = local.tags
}
