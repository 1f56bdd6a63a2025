# Three KMS keys, so that a right to one is no right to another.
#
#   data     storage: database, counters, tiles, log keys, logs. Services use it in our name.
#   secrets  what Secrets Manager holds: secrets read at the start, and provider keys.
#   wrapping wraps the master key of provider keys that the management API stores. Only the router may, and only with
#            the encryption context that it sends.
#
# There is no key that signs: the log's signing keys are files (docs/reference/log.md), not KMS keys.

locals {
  keys = {
    data     = "storage of ${var.name}: database, counters, tiles, log keys, logs"
    secrets  = "secrets of ${var.name} in Secrets Manager"
    wrapping = "wraps the master key of provider keys of ${var.name}"
  }

  # The account decides by IAM who may what. Without this statement a key can become nobody's.
  delegation = {
    Sid       = "IamOfThisAccountDecides"
    Effect    = "Allow"
    Principal = { AWS = "arn:${var.account.partition}:iam::${var.account.id}:root" }
    Action    = "kms:*"
    Resource  = "*" # in a key's policy: this key
  }

  logs = {
    Sid       = "LogsOfThisRouter"
    Effect    = "Allow"
    Principal = { Service = "logs.${var.account.region}.${var.account.dns_suffix}" }
    Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"]
    Resource  = "*" # in a key's policy: this key
    Condition = {
      ArnLike = {
        "kms:EncryptionContext:aws:logs:arn" = "arn:${var.account.partition}:logs:${var.account.region}:${var.account.id}:log-group:/${var.name}/*"
      }
    }
  }
}

resource "aws_kms_key" "this" {
  for_each = local.keys

  description             = each.value
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.delegation], each.key == "data" ? [local.logs] : [])
  })
  tags = var.tags
}

resource "aws_kms_alias" "this" {
  for_each = local.keys

  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
