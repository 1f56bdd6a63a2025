# The log's signing keys: files that all routers share (docs/reference/log.md). Whoever can read them can sign a second
# history, so the file system is encrypted, speaks TLS only, and knows one path, one user and the routers' role.

resource "aws_efs_file_system" "log_keys" {
  creation_token  = "${var.name}-log-keys"
  encrypted       = true
  kms_key_id      = var.key_arns.data
  throughput_mode = "elastic"
  tags            = merge(var.tags, { Name = "${var.name}-log-keys" })
}

resource "aws_efs_access_point" "log_keys" {
  file_system_id = aws_efs_file_system.log_keys.id
  tags           = var.tags

  posix_user {
    uid = var.user_id
    gid = var.user_id
  }

  root_directory {
    path = "/log-keys"

    creation_info {
      owner_uid   = var.user_id
      owner_gid   = var.user_id
      permissions = "0700"
    }
  }
}

resource "aws_efs_mount_target" "log_keys" {
  for_each = toset(var.subnet_ids)

  file_system_id  = aws_efs_file_system.log_keys.id
  subnet_id       = each.value
  security_groups = [var.security_group_ids.files]
}

# Keys never change, and if they are lost the log has ended.
resource "aws_efs_backup_policy" "log_keys" {
  file_system_id = aws_efs_file_system.log_keys.id

  backup_policy {
    status = "ENABLED"
  }
}

# A policy of its own replaces the one that lets everybody mount who can connect.
resource "aws_efs_file_system_policy" "log_keys" {
  file_system_id = aws_efs_file_system.log_keys.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "RoutersThroughTheirAccessPoint"
        Effect    = "Allow"
        Principal = { AWS = var.log_keys_role_arn }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        Resource  = aws_efs_file_system.log_keys.arn
        Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.log_keys.arn } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
        Resource  = aws_efs_file_system.log_keys.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
