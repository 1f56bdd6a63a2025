variable "name" {
  description = "What names of resources begin with; one router's resources in an account and region"
  type        = string
  default     = "sovereign"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name)) && !strcontains(var.name, "--")
    error_message = "The name has 1 to 20 lower-case letters, digits and single hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "vpc_id" {
  description = "The VPC; this module makes no network"
  type        = string

  validation {
    condition     = can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "The VPC is given by its id, vpc-…."
  }
}

variable "private_subnet_ids" {
  description = "Private subnets in at least two availability zones, with a way out (NAT) to providers and AWS"
  type        = list(string)

  validation {
    condition     = length(distinct(var.private_subnet_ids)) >= 2 && alltrue([for id in var.private_subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    error_message = "Give at least two different subnets by their ids, subnet-…."
  }
}

variable "configuration" {
  description = "sovereign.yaml without `storage`, `keystore` and `ingress.tls`, which this module writes. It holds no secrets"
  type        = string

  validation {
    condition     = can(yamldecode(var.configuration).version)
    error_message = "The configuration is YAML with the field `version`."
  }

  validation {
    condition     = length(setintersection(try(keys(yamldecode(var.configuration)), []), ["storage", "keystore"])) == 0
    error_message = "`storage` and `keystore` are written by this module; leave them out of the configuration."
  }

  validation {
    condition     = !can(yamldecode(var.configuration).ingress.tls)
    error_message = "`ingress.tls` is written by this module; leave it out of the configuration."
  }

  validation {
    condition     = can(regex("^[^/[:space:]]+", yamldecode(var.configuration).origin))
    error_message = "The configuration names the log's `origin`. It holds for the life of the log."
  }

  # A task definition has 64 KiB, with everything else in it.
  validation {
    condition     = length(var.configuration) <= 32768
    error_message = "The configuration has at most 32 KiB here. What is beyond that belongs into the management API."
  }
}

variable "database_ca" {
  description = "PEM roots of the region's databases: https://truststore.pki.rds.amazonaws.com/REGION/REGION-bundle.pem"
  type        = string

  validation {
    condition     = startswith(trimspace(var.database_ca), "-----BEGIN CERTIFICATE-----") && length(var.database_ca) <= 16384
    error_message = "The roots are PEM certificates of one region, at most 16 KiB."
  }
}

variable "bedrock_model_arns" {
  description = "Foundation models and inference profiles of Bedrock that the router may call; of a profile both its own ARN and those of its models"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.bedrock_model_arns : can(regex("^arn:aws[a-z-]*:bedrock:([a-z0-9-]+|\\*)?:([0-9]{12})?:[a-z-]+/[A-Za-z0-9.:_-]+$", arn))])
    error_message = "Models are given by full ARNs such as arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0; only the region may be *."
  }
}

variable "provider_role_arns" {
  description = "Roles that `providers[].aws.role_arn` names"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.provider_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "Roles are given by full ARNs, without wildcards."
  }
}

variable "https_cidrs" {
  description = "Where routers may connect to on port 443: providers, AWS, log witnesses. ECS only; on EKS it is the pods' group that says so"
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.https_cidrs) > 0 && alltrue([for cidr in var.https_cidrs : can(cidrnetmask(cidr))])
    error_message = "Give CIDR blocks of IPv4."
  }
}

variable "client_cidrs" {
  description = "Who may connect to the load balancer. There is no default: say 0.0.0.0/0 if you mean everybody"
  type        = list(string)

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "Give at least one CIDR block of IPv4."
  }
}

variable "internal" {
  description = "Whether the load balancer has private addresses only"
  type        = bool
  default     = true
}

variable "idle_timeout_s" {
  description = "Seconds after which the load balancer drops a connection on which nothing moves: longer than a model may think"
  type        = number
  default     = 3600

  validation {
    condition     = var.idle_timeout_s >= 60 && var.idle_timeout_s <= 6000 && floor(var.idle_timeout_s) == var.idle_timeout_s
    error_message = "AWS knows 60 to 6000 seconds."
  }
}

variable "drain_s" {
  description = "Seconds that open streams have to end before their router is stopped"
  type        = number
  default     = 900

  validation {
    condition     = var.drain_s >= 0 && var.drain_s <= 3600 && floor(var.drain_s) == var.drain_s
    error_message = "AWS knows 0 to 3600 seconds."
  }
}

variable "deletion_protection" {
  description = "Whether database and load balancer refuse to be deleted"
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to"
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:", arn))])
    error_message = "Topics are given by ARNs of SNS."
  }
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
  default     = {}
}
