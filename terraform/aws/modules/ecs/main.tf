# Fargate: Envoy and the processor in one task, over Unix sockets in a volume that both mount. Nothing but Envoy listens.

locals {
  port = 8443

  containers = [local.prepare, local.processor, local.envoy, local.drain]
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["prepare", "processor", "envoy", "drain"])

  name              = "/${var.name}/${each.value}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.key_arns.data
  tags              = var.tags
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_mib
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = var.router_role_arn
  container_definitions    = jsonencode(local.containers)
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  dynamic "volume" {
    for_each = toset(["config", "run", "state", "tmp"])

    content {
      name = volume.value
    }
  }

  volume {
    name = "log-keys"

    efs_volume_configuration {
      file_system_id     = var.log_keys.file_system_id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = var.log_keys.access_point_id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_ecs_service" "this" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  desired_count                      = var.replicas
  launch_type                        = "FARGATE"
  platform_version                   = "1.4.0"
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = 120
  availability_zone_rebalancing      = "ENABLED"
  enable_execute_command             = false
  propagate_tags                     = "SERVICE"
  tags                               = var.tags

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.router_security_group_id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "envoy"
    container_port   = local.port
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # A target group that no listener uses yet takes no service, and secrets have to be readable before the first task.
  depends_on = [aws_lb_listener.this, aws_iam_role_policy.execution, aws_iam_role_policy_attachment.startup]
}
