output "balancer" {
  description = "The load balancer: name, zone and ARN"
  value       = { dns_name = aws_lb.this.dns_name, zone_id = aws_lb.this.zone_id, arn = aws_lb.this.arn }
}

output "names" {
  description = "Cluster, service and task definition, for the ECS command line"
  value = {
    cluster         = aws_ecs_cluster.this.name
    service         = aws_ecs_service.this.name
    task_definition = aws_ecs_task_definition.this.arn
  }
}

output "dimensions" {
  description = "What CloudWatch calls balancer and target group"
  value       = { balancer = aws_lb.this.arn_suffix, target_group = aws_lb_target_group.this.arn_suffix }
}

output "processor_log_group" {
  description = "Log group of the processor"
  value       = aws_cloudwatch_log_group.this["processor"].name
}
