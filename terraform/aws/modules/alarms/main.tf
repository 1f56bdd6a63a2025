# Alarms for what a person has to look at. Each says what in docs/operations.md to read.

locals {
  stores = {
    database-storage = {
      namespace  = "AWS/RDS", metric = "FreeStorageSpace", statistic = "Minimum", than = "LessThanThreshold"
      threshold  = 10 * 1024 * 1024 * 1024, missing = "breaching"
      dimensions = { DBInstanceIdentifier = var.database_identifier }
      what       = "Less than 10 GiB free in the database: when it is full, every call is refused"
    }
    database-cpu = {
      namespace  = "AWS/RDS", metric = "CPUUtilization", statistic = "Average", than = "GreaterThanThreshold"
      threshold  = 80, missing = "breaching"
      dimensions = { DBInstanceIdentifier = var.database_identifier }
      what       = "The database is busy: appends become slow"
    }
    counters-memory = {
      namespace  = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", statistic = "Maximum", than = "GreaterThanThreshold"
      threshold  = 80, missing = "breaching"
      dimensions = { CacheClusterId = "${var.counters_id}-001" }
      what       = "Valkey is nearly full: when it is, calls under a cap are refused"
    }
    counters-evictions = {
      namespace  = "AWS/ElastiCache", metric = "Evictions", statistic = "Sum", than = "GreaterThanThreshold"
      threshold  = 0, missing = "notBreaching"
      dimensions = { CacheClusterId = "${var.counters_id}-001" }
      what       = "Valkey evicts: limits are forgotten; look at maxmemory-policy"
    }
  }

  of_service = {
    targets-unhealthy = {
      namespace  = "AWS/NetworkELB", metric = "UnHealthyHostCount", statistic = "Maximum", than = "GreaterThanThreshold"
      threshold  = 0, missing = "notBreaching"
      dimensions = { LoadBalancer = try(var.balancer.balancer, ""), TargetGroup = try(var.balancer.target_group, "") }
      what       = "A task does not answer its probe"
    }
    targets-healthy = {
      namespace  = "AWS/NetworkELB", metric = "HealthyHostCount", statistic = "Minimum", than = "LessThanThreshold"
      threshold  = 1, missing = "breaching"
      dimensions = { LoadBalancer = try(var.balancer.balancer, ""), TargetGroup = try(var.balancer.target_group, "") }
      what       = "Nobody serves"
    }
    log-errors = {
      namespace  = var.name, metric = "ErrorLines", statistic = "Sum", than = "GreaterThanThreshold"
      threshold  = 0, missing = "notBreaching"
      dimensions = {}
      what       = "The processor logged an error: look into its log group"
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  count = var.with_service ? 1 : 0

  name           = "errors"
  log_group_name = var.processor_log_group
  pattern        = "\" ERROR \""

  metric_transformation {
    name          = "ErrorLines"
    namespace     = var.name
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = { for name, alarm in merge(local.stores, local.of_service) : name => alarm if var.with_service || contains(keys(local.stores), name) }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.what
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.than
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
  tags                = var.tags
}
