# Valkey: limits, reservations, health. One primary with a replica; cluster mode is not spoken. It holds no truth, so
# there are no snapshots.

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
  tags       = var.tags
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-counters"
  family      = "valkey8"
  description = "A limit that is evicted is a limit forgotten"
  tags        = var.tags

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

# The rights that docs/operations.md names, and no other.
resource "aws_elasticache_user" "router" {
  user_id              = "${var.name}-router"
  user_name            = "router"
  engine               = "valkey"
  access_string        = "on ~sf:* -@all +@scripting +@read +@write +@connection +info +time"
  passwords_wo         = ephemeral.random_password.counters.result
  passwords_wo_version = var.passwords_version
  tags                 = var.tags
}

# A group has to have a user `default`. This one is off, and nobody knows its password.
resource "aws_elasticache_user" "default" {
  user_id              = "${var.name}-default"
  user_name            = "default"
  engine               = "valkey"
  access_string        = "off ~sf:* -@all"
  passwords_wo         = ephemeral.random_password.nobody.result
  passwords_wo_version = 1
  tags                 = var.tags
}

resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "valkey"
  user_ids      = [aws_elasticache_user.default.user_id, aws_elasticache_user.router.user_id]
  tags          = var.tags
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "Limits, reservations and health of ${var.name}"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = var.counters.node_type
  port                 = 6379

  num_cache_clusters         = var.counters.nodes
  automatic_failover_enabled = var.counters.nodes > 1
  multi_az_enabled           = var.counters.nodes > 1
  parameter_group_name       = aws_elasticache_parameter_group.this.name
  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [var.security_group_ids.counters]

  at_rest_encryption_enabled = true
  kms_key_id                 = var.key_arns.data
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  user_group_ids             = [aws_elasticache_user_group.this.user_group_id]

  snapshot_retention_limit   = 0
  auto_minor_version_upgrade = true
  apply_immediately          = false
  tags                       = var.tags
}
