# What the router is told, and who may be it.

locals {
  provider_key_prefix = "${var.name}/keys"
  tiles_prefix        = "log/"
  wrapping_context    = { purpose = "sovereign-router-keystore" }

  given = yamldecode(var.configuration)

  # docs/reference/sovereign-yaml.md. No secret is in it: URLs come in variables.
  storage = {
    database = { url_env = "SOVEREIGN_DATABASE_URL" }
    shared   = { url_env = "SOVEREIGN_COUNTERS_URL" }
    tiles = {
      # No keys: the router's role signs.
      s3 = {
        endpoint   = "https://s3.${local.account.region}.${local.account.dns_suffix}"
        bucket     = module.data.bucket.name
        prefix     = local.tiles_prefix
        region     = local.account.region
        path_style = false
      }
    }
    log_keys_dir = local.paths.log_keys
    key_hash     = { env = "SOVEREIGN_KEY_HASH" }
  }

  keystore = {
    local = {
      master_key = {
        wrapped = {
          kind    = "aws-kms"
          region  = local.account.region
          key     = module.keys.arns.wrapping
          context = local.wrapping_context
        }
      }
    }
    kms = [{
      kind     = "aws-secrets-manager"
      region   = local.account.region
      template = "${local.provider_key_prefix}/{tenant}/{provider}"
    }]
  }

  # Relative to sovereign.yaml.
  ingress = merge(try(local.given.ingress, {}), { tls = { certificate_file = "tls.crt", key_file = "tls.key" } })

  configuration = yamlencode(merge(local.given, {
    storage  = local.storage
    keystore = local.keystore
    ingress  = local.ingress
  }))

  # Tasks and pods of this account only: a service is not talked into acting for somebody else's.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = local.on_ecs ? "ecs-tasks.amazonaws.com" : "pods.eks.amazonaws.com" }
      Action    = local.on_ecs ? ["sts:AssumeRole"] : ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account.id }
        ArnLike = {
          "aws:SourceArn" = "arn:${local.account.partition}:${local.on_ecs ? "ecs" : "eks"}:${local.account.region}:${local.account.id}:*"
        }
      }
    }]
  })
}
