output "bucket" {
  description = "The tiles' bucket"
  value       = { name = aws_s3_bucket.tiles.bucket, arn = aws_s3_bucket.tiles.arn }
}

output "log_keys" {
  description = "File system and access point of the signing keys"
  value = {
    file_system_id   = aws_efs_file_system.log_keys.id
    file_system_arn  = aws_efs_file_system.log_keys.arn
    access_point_id  = aws_efs_access_point.log_keys.id
    access_point_arn = aws_efs_access_point.log_keys.arn
  }

  # Mounting waits for these.
  depends_on = [aws_efs_mount_target.log_keys, aws_efs_file_system_policy.log_keys]
}

output "secret_arns" {
  description = "Secrets that are read at the start, by name"
  value       = { for name, secret in aws_secretsmanager_secret.this : name => secret.arn }
}

output "database_identifier" {
  description = "The instance, as CloudWatch names it"
  value       = aws_db_instance.this.identifier
}

output "database_address" {
  description = "Host of the database"
  value       = aws_db_instance.this.address
}

output "counters_id" {
  description = "The replication group"
  value       = aws_elasticache_replication_group.this.id
}

output "counters_address" {
  description = "Host of the primary"
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}
