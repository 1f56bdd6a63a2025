variable "with_service" {
  description = "Whether there is a balancer and a log group to watch"
  type        = bool
}

variable "name" {
  description = "What names begin with"
  type        = string
}

variable "database_identifier" {
  description = "The database, as CloudWatch names it"
  type        = string
}

variable "counters_id" {
  description = "The Valkey replication group"
  type        = string
}

variable "balancer" {
  description = "Balancer and target group, as CloudWatch names them; null where Kubernetes makes them"
  type        = object({ balancer = string, target_group = string })
}

variable "processor_log_group" {
  description = "Log group of the processor; null where Kubernetes has its log"
  type        = string
}

variable "topic_arns" {
  description = "SNS topics that are told"
  type        = list(string)
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
}
