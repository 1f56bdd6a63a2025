variable "name" {
  description = "What names begin with"
  type        = string
}

variable "account" {
  description = "Where we are"
  type        = object({ id = string, region = string, partition = string, dns_suffix = string })
}

variable "vpc_id" {
  description = "The VPC"
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the tasks"
  type        = list(string)
}

variable "balancer_subnet_ids" {
  description = "Subnets of the load balancer"
  type        = list(string)
}

variable "internal" {
  description = "Whether the balancer has private addresses only"
  type        = bool
}

variable "client_cidrs" {
  description = "Who may connect"
  type        = list(string)
}

variable "idle_timeout_s" {
  description = "Seconds after which the balancer drops an idle connection"
  type        = number
}

variable "drain_s" {
  description = "Seconds that open streams have before their task is stopped"
  type        = number
}

variable "router_security_group_id" {
  description = "Group of the tasks"
  type        = string
}

variable "router_role_arn" {
  description = "What a router may do at AWS"
  type        = string
}

variable "startup_policy_arn" {
  description = "Policy that reads the startup secrets"
  type        = string
}

variable "ecr_repository_arns" {
  description = "ECR repositories of the images"
  type        = list(string)
}

variable "key_arns" {
  description = "KMS keys"
  type        = object({ data = string, secrets = string, wrapping = string })
}

variable "secret_arns" {
  description = "Startup secrets by name"
  type        = map(string)
}

variable "log_keys" {
  description = "The directory of signing keys"
  type        = object({ file_system_id = string, access_point_id = string })
}

variable "image" {
  description = "The router's image"
  type        = string
}

variable "envoy_image" {
  description = "Envoy's image"
  type        = string
}

variable "architecture" {
  description = "X86_64 or ARM64"
  type        = string
}

variable "cpu" {
  description = "CPU units of a task"
  type        = number
}

variable "memory_mib" {
  description = "Memory of a task"
  type        = number
}

variable "replicas" {
  description = "Tasks"
  type        = number
}

variable "configuration" {
  description = "sovereign.yaml"
  type        = string
}

variable "database_ca" {
  description = "PEM roots of the database"
  type        = string
}

variable "environment" {
  description = "Variables of the processor that are not secret"
  type        = map(string)
}

variable "paths" {
  description = "Where things are in the containers"
  type = object({
    config = string, run = string, state = string, log_keys = string, database_ca = string, roots = string
  })
}

variable "user_id" {
  description = "User and group of the processes"
  type        = number
}

variable "log_retention_days" {
  description = "How long log lines are kept"
  type        = number
}

variable "deletion_protection" {
  description = "Whether the balancer refuses to be deleted"
  type        = bool
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}

variable "assume_role_policy" {
  description = "Lets tasks assume a role, as JSON"
  type        = string
}
