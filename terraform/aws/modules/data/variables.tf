variable "name" {
  description = "What names begin with"
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets"
  type        = list(string)
}

variable "security_group_ids" {
  description = "Groups of database, counters and files"
  type        = object({ database = string, counters = string, files = string })
}

variable "key_arns" {
  description = "KMS keys"
  type        = object({ data = string, secrets = string, wrapping = string })
}

variable "database" {
  description = "The PostgreSQL instance"
  type = object({
    instance_class  = string
    major_version   = string
    storage_gib     = number
    max_storage_gib = number
    backup_days     = number
    multi_az        = bool
  })
}

variable "database_ca_path" {
  description = "Where the router finds the roots of the database's certificate"
  type        = string
}

variable "kept_database_ca" {
  description = "PEM roots of the database that are kept beside the secrets; null where a task has them otherwise"
  type        = string
}

variable "counters" {
  description = "The Valkey"
  type        = object({ node_type = string, nodes = number })
}

variable "tiles" {
  description = "The bucket"
  type        = object({ bucket = string, lock_mode = string, lock_days = number })
}

variable "log_keys_role_arn" {
  description = "Whose role may mount the directory of signing keys"
  type        = string
}

variable "passwords_version" {
  description = "Raised to make new passwords"
  type        = number
}

variable "deletion_protection" {
  description = "Whether the database refuses to be deleted"
  type        = bool
}

variable "user_id" {
  description = "User and group of the router's processes"
  type        = number
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
