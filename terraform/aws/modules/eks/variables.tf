variable "name" {
  description = "What names begin with"
  type        = string
}

variable "cluster_name" {
  description = "The cluster, with the Pod Identity agent"
  type        = string
}

variable "namespace" {
  description = "Where the router runs"
  type        = string
}

variable "service_account" {
  description = "What it runs as"
  type        = string
}

variable "secrets_reader" {
  description = "Service account that is to read startup secrets; null for none"
  type        = object({ namespace = string, service_account = string })
}

variable "assume_role_policy" {
  description = "Lets pods assume a role, as JSON"
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
  description = "Seconds that open streams have before their pod is stopped"
  type        = number
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
