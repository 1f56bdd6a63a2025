variable "name" {
  description = "What names begin with"
  type        = string
}

variable "vpc_id" {
  description = "The VPC"
  type        = string
}

variable "makes_router_group" {
  description = "Whether a group for routers is made"
  type        = bool
}

variable "router_security_group_id" {
  description = "Group that routers have already, where none is made"
  type        = string
}

variable "https_cidrs" {
  description = "Where the router may connect to on port 443"
  type        = list(string)
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
