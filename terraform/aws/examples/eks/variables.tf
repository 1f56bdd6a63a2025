variable "account_id" {
  description = "Number of the AWS account"
  type        = string
}

variable "vpc_id" {
  description = "The cluster's VPC"
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

variable "cluster_name" {
  description = "The cluster, with the Pod Identity agent and the EFS CSI driver"
  type        = string
}

variable "security_group_id" {
  description = "Security group of the router's pods"
  type        = string
}

variable "efs_csi_role_arn" {
  description = "Role with which the EFS CSI driver's nodes mount"
  type        = string
}

variable "image" {
  description = "The router's image for the chart, by digest"
  type        = string
}
