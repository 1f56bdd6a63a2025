variable "name" {
  description = "What names begin with"
  type        = string
}

variable "account" {
  description = "Where we are"
  type        = object({ id = string, region = string, partition = string, dns_suffix = string })
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
