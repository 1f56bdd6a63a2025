variable "name" {
  description = "What names begin with"
  type        = string
}

variable "account" {
  description = "Where we are"
  type        = object({ id = string, region = string, partition = string, dns_suffix = string })
}

variable "assume_role_policy" {
  description = "Who may be the router, as JSON"
  type        = string
}

variable "key_arns" {
  description = "KMS keys"
  type        = object({ data = string, secrets = string, wrapping = string })
}

variable "wrapping_context" {
  description = "Value of `purpose` in the encryption context that the router sends"
  type        = string
}

variable "secret_arns" {
  description = "Secrets that are read at the start"
  type        = map(string)
}

variable "provider_key_prefix" {
  description = "What names of provider keys in Secrets Manager begin with, without the slash"
  type        = string
}

variable "bedrock_model_arns" {
  description = "Models and inference profiles of Bedrock that may be called"
  type        = list(string)
}

variable "provider_role_arns" {
  description = "Roles that may be assumed for providers"
  type        = list(string)
}

variable "log_keys" {
  description = "The directory of signing keys"
  type        = object({ file_system_arn = string, access_point_arn = string })
}

variable "mounts_log_keys" {
  description = "Whether the router mounts that itself; on EKS a driver does"
  type        = bool
}

variable "bucket_arn" {
  description = "The tiles' bucket"
  type        = string
}

variable "tiles_prefix" {
  description = "What names of objects begin with, with a slash at the end"
  type        = string
}

variable "s3_vpc_endpoint_id" {
  description = "The only VPC endpoint that tiles may come from; null for any way"
  type        = string
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
