# Secrets that a router reads at its start. Terraform makes three of them: the values are ephemeral, written once and in
# neither plan nor state. The certificate is yours to fill in: it comes from elsewhere (docs/deploy/aws.md).

locals {
  secrets = merge({
    database-url = "postgresql:// URL with the password"
    counters-url = "rediss:// URL with the password"
    key-hash     = "secret behind the stored hashes of tenants' keys; never changed"
    tls          = "JSON with certificate and key, PEM; filled in by hand"
    }, var.kept_database_ca == null ? {} : {
    database-ca = "PEM roots of the database; no secret, but pods read it with the others"
  })
}

ephemeral "random_password" "database" {
  length  = 48
  special = false # it stands in a URL
}

ephemeral "random_password" "counters" {
  length  = 48
  special = false
}

ephemeral "random_password" "nobody" {
  length  = 64
  special = false
}

ephemeral "random_password" "key_hash" {
  length  = 64
  special = false
}

resource "aws_secretsmanager_secret" "this" {
  for_each = local.secrets

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.key_arns.secrets
  recovery_window_in_days = 30
  tags                    = var.tags
}

resource "aws_secretsmanager_secret_version" "database_url" {
  secret_id = aws_secretsmanager_secret.this["database-url"].id
  secret_string_wo = format(
    "postgresql://%s:%s@%s:%d/%s?sslmode=verify-full&sslrootcert=%s",
    aws_db_instance.this.username,
    ephemeral.random_password.database.result,
    aws_db_instance.this.address,
    aws_db_instance.this.port,
    aws_db_instance.this.db_name,
    var.database_ca_path,
  )
  secret_string_wo_version = var.passwords_version
}

resource "aws_secretsmanager_secret_version" "counters_url" {
  secret_id = aws_secretsmanager_secret.this["counters-url"].id
  secret_string_wo = format(
    "rediss://%s:%s@%s:%d/0",
    aws_elasticache_user.router.user_name,
    ephemeral.random_password.counters.result,
    aws_elasticache_replication_group.this.primary_endpoint_address,
    aws_elasticache_replication_group.this.port,
  )
  secret_string_wo_version = var.passwords_version
}

# Its version stays: with another secret no key of a tenant opens anything any more.
resource "aws_secretsmanager_secret_version" "key_hash" {
  secret_id                = aws_secretsmanager_secret.this["key-hash"].id
  secret_string_wo         = ephemeral.random_password.key_hash.result
  secret_string_wo_version = 1
}

# Its version follows the text, which is not in the state either.
resource "aws_secretsmanager_secret_version" "database_ca" {
  count = var.kept_database_ca == null ? 0 : 1

  secret_id                = aws_secretsmanager_secret.this["database-ca"].id
  secret_string_wo         = var.kept_database_ca
  secret_string_wo_version = parseint(substr(sha256(var.kept_database_ca), 0, 7), 16)
}
