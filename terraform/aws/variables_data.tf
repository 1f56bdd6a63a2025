variable "database" {
  description = "The PostgreSQL instance. Without `multi_az` a fail-over can lose entries that were promised, which ends the log: for trying things out only"
  type = object({
    instance_class  = optional(string, "db.m7g.large")
    major_version   = optional(string, "17")
    storage_gib     = optional(number, 100)
    max_storage_gib = optional(number, 1000)
    backup_days     = optional(number, 14)
    multi_az        = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^1[3-9]$", var.database.major_version))
    error_message = "PostgreSQL 13 or newer, by its major version."
  }

  validation {
    condition     = var.database.storage_gib >= 20 && var.database.max_storage_gib >= 1.1 * var.database.storage_gib
    error_message = "At least 20 GiB, and a maximum that is at least a tenth more."
  }

  validation {
    condition     = var.database.backup_days >= 1 && var.database.backup_days <= 35
    error_message = "Backups are kept for 1 to 35 days; without them there is no point-in-time recovery."
  }
}

variable "counters" {
  description = "The Valkey: `nodes` are one primary and its replicas"
  type = object({
    node_type = optional(string, "cache.t4g.medium")
    nodes     = optional(number, 2)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.counters.nodes >= 1 && var.counters.nodes <= 6 && floor(var.counters.nodes) == var.counters.nodes
    error_message = "One primary and at most five replicas."
  }
}

variable "tiles" {
  description = "The bucket of the log's tiles, by default NAME-tiles-ACCOUNT, and how long versions are locked: `GOVERNANCE` (who has the right may unlock) or `COMPLIANCE` (nobody may)"
  type = object({
    bucket    = optional(string)
    lock_mode = optional(string, "GOVERNANCE")
    lock_days = optional(number, 30)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.tiles.lock_mode)
    error_message = "The lock's mode is GOVERNANCE or COMPLIANCE."
  }

  validation {
    condition     = var.tiles.lock_days >= 1 && var.tiles.lock_days <= 36500 && floor(var.tiles.lock_days) == var.tiles.lock_days
    error_message = "Versions are locked for 1 to 36500 days."
  }

  # No dots: the bucket is part of the host name, and a wildcard certificate covers one label.
  validation {
    condition     = var.tiles.bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.tiles.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "s3_vpc_endpoint_id" {
  description = "VPC endpoint of S3 that tiles have to come through, so that stolen keys of the role open none of them from elsewhere; null for any way"
  type        = string
  default     = null

  validation {
    condition     = var.s3_vpc_endpoint_id == null || can(regex("^vpce-[0-9a-f]{8,17}$", var.s3_vpc_endpoint_id))
    error_message = "The endpoint is given by its id, vpce-…."
  }
}

variable "passwords_version" {
  description = "Raise it to have new passwords of database and Valkey made; routers are restarted afterwards"
  type        = number
  default     = 1

  validation {
    condition     = var.passwords_version >= 1 && floor(var.passwords_version) == var.passwords_version
    error_message = "A whole number from 1 on, which only grows."
  }
}
