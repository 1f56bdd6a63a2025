variable "account_id" {
  description = "Number of the AWS account"
  type        = string
}

variable "vpc_id" {
  description = "The VPC"
  type        = string
}

variable "private_subnet_ids" {
  description = "Private subnets in two availability zones"
  type        = list(string)
}

variable "database_ca_file" {
  description = "The region's bundle of database roots, downloaded"
  type        = string
}

variable "image" {
  description = "The router's image, by digest"
  type        = string
}

variable "envoy_image" {
  description = "Envoy 1.40's image, by digest"
  type        = string
}

variable "replicas" {
  description = "0 until the secrets are filled in"
  type        = number
  default     = 0
}
