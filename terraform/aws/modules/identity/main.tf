# What a router may do at AWS, and what whoever starts it may read. Two roles' worth of rights: the router never reads
# the database's password, and what starts it never calls a model.

locals {
  # What services do with our keys in the name of whoever asks them.
  through_secrets_manager = {
    StringEquals = { "kms:ViaService" = "secretsmanager.${var.account.region}.${var.account.dns_suffix}" }
  }
  provider_keys = "arn:${var.account.partition}:secretsmanager:${var.account.region}:${var.account.id}:secret:${var.provider_key_prefix}/*"

  bedrock = {
    Sid      = "CallTheModelsThatAreListed"
    Effect   = "Allow"
    Action   = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"] # Converse and ConverseStream ask for these two
    Resource = var.bedrock_model_arns
  }

  assume = {
    Sid      = "AssumeRolesOfProviders"
    Effect   = "Allow"
    Action   = "sts:AssumeRole"
    Resource = var.provider_role_arns
  }

  mount = {
    Sid      = "MountTheLogsKeys"
    Effect   = "Allow"
    Action   = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    Resource = var.log_keys.file_system_arn
    Condition = {
      StringEquals = { "elasticfilesystem:AccessPointArn" = var.log_keys.access_point_arn }
      Bool         = { "aws:SecureTransport" = "true" }
    }
  }

  always = [
    {
      Sid      = "ReadProviderKeys"
      Effect   = "Allow"
      Action   = "secretsmanager:GetSecretValue"
      Resource = local.provider_keys
    },
    {
      Sid       = "OpenProviderKeys"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = var.key_arns.secrets
      Condition = local.through_secrets_manager
    },
    {
      Sid      = "WrapTheMasterKey"
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt"]
      Resource = var.key_arns.wrapping
      Condition = {
        StringEquals = { "kms:EncryptionContext:purpose" = var.wrapping_context }
      }
    },
  ]
}

resource "aws_iam_role" "router" {
  name               = "${var.name}-router"
  description        = "What a router may do at AWS"
  assume_role_policy = var.assume_role_policy
  tags               = var.tags
}

resource "aws_iam_role_policy" "router" {
  name = "router"
  role = aws_iam_role.router.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.always,
      local.tiles,
      [for statement in [local.mount] : statement if var.mounts_log_keys],
      [for statement in [local.bedrock] : statement if length(var.bedrock_model_arns) > 0],
      [for statement in [local.assume] : statement if length(var.provider_role_arns) > 0],
    )
  })
}

resource "aws_iam_policy" "startup" {
  name        = "${var.name}-startup-secrets"
  description = "Read the secrets that a router is started with"
  tags        = var.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadStartupSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = values(var.secret_arns)
      },
      {
        Sid       = "OpenStartupSecrets"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.key_arns.secrets
        Condition = local.through_secrets_manager
      },
    ]
  })
}
