# Tiles and the shown checkpoint. Full tiles never change; partial tiles and the checkpoint are written over. The lock
# holds versions, not names: writing over makes a new version, deleting leaves a marker, both are allowed, and what was
# there stays until its time is over. Rows in the database are the truth: tiles are made again from them.

resource "aws_s3_bucket" "tiles" {
  bucket              = var.tiles.bucket
  object_lock_enabled = true
  force_destroy       = false
  tags                = var.tags
}

resource "aws_s3_bucket_versioning" "tiles" {
  bucket = aws_s3_bucket.tiles.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "tiles" {
  bucket = aws_s3_bucket.tiles.id

  rule {
    default_retention {
      mode = var.tiles.lock_mode
      days = var.tiles.lock_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.tiles]
}

resource "aws_s3_bucket_lifecycle_configuration" "tiles" {
  bucket = aws_s3_bucket.tiles.id

  # A busy log shows two checkpoints a second. Their versions go when the lock lets them.
  rule {
    id     = "versions-that-were-written-over"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.tiles.lock_days
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.tiles]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "tiles" {
  bucket = aws_s3_bucket.tiles.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arns.data
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "tiles" {
  bucket = aws_s3_bucket.tiles.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "tiles" {
  bucket                  = aws_s3_bucket.tiles.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "tiles" {
  bucket = aws_s3_bucket.tiles.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.tiles.arn, "${aws_s3_bucket.tiles.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.tiles]
}
