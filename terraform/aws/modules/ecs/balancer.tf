# A Network Load Balancer that passes TCP on. TLS ends in Envoy: a TLS listener of the balancer drops what is idle for
# 350 s, and that cannot be changed, while a TCP listener's limit can be; and so the way to the task is encrypted too.

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-balancer-"
  description = "The load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.balancer.id
  description       = "Clients"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "routers" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Calls and probes"
  referenced_security_group_id = var.router_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  security_group_id            = var.router_security_group_id
  description                  = "Calls and probes"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = var.tags
}

resource "aws_lb" "this" {
  name                             = var.name
  load_balancer_type               = "network"
  internal                         = var.internal
  subnets                          = var.balancer_subnet_ids
  security_groups                  = [aws_security_group.balancer.id]
  enable_deletion_protection       = var.deletion_protection
  enable_cross_zone_load_balancing = true
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  name                   = var.name
  vpc_id                 = var.vpc_id
  target_type            = "ip"
  protocol               = "TCP"
  port                   = local.port
  preserve_client_ip     = "true"
  deregistration_delay   = var.drain_s
  connection_termination = false # a stream that outlives the delay ends with its task
  tags                   = var.tags

  # About Envoy: 200, and 503 from when a drain begins. The balancer does not check the certificate.
  health_check {
    protocol            = "HTTPS"
    path                = "/healthz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn        = aws_lb.this.arn
  port                     = 443
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = var.idle_timeout_s
  tags                     = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}
