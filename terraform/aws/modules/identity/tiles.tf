# What the router may do with its log's tiles: one prefix of one bucket, and neither a version nor a lock.

locals {
  from_endpoint = var.s3_vpc_endpoint_id == null ? {} : {
    Condition = { StringEquals = { "aws:SourceVpce" = var.s3_vpc_endpoint_id } }
  }

  tiles = [
    merge(local.from_endpoint, {
      Sid      = "TilesAndCheckpoint"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = "${var.bucket_arn}/${var.tiles_prefix}*"
    }),
    # Without it an object that is not there is a 403, and the log takes that for a failure. A condition on `s3:prefix`
    # would have the same effect: GetObject has no such key. The bucket is for tiles alone.
    merge(local.from_endpoint, {
      Sid      = "WhatIsThere"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = var.bucket_arn
    }),
    {
      Sid      = "EncryptTiles"
      Effect   = "Allow"
      Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
      Resource = var.key_arns.data
      Condition = {
        StringEquals = { "kms:ViaService" = "s3.${var.account.region}.${var.account.dns_suffix}" }
      }
    },
  ]
}
