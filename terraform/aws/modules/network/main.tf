# Who may talk to whom. Each rule names a port and the group on the other side; nothing is open to the whole VPC.

locals {
  stores = {
    database = { port = 5432, what = "PostgreSQL" }
    counters = { port = 6379, what = "Valkey" }
    files    = { port = 2049, what = "NFS with TLS: the log's signing keys" }
  }
  routers = var.makes_router_group ? aws_security_group.router[0].id : var.router_security_group_id
}

resource "aws_security_group" "router" {
  count = var.makes_router_group ? 1 : 0

  name_prefix = "${var.name}-router-"
  description = "The router: Envoy and the processor"
  vpc_id      = var.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "store" {
  for_each = local.stores

  name_prefix = "${var.name}-${each.key}-"
  description = each.value.what
  vpc_id      = var.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "store" {
  for_each = local.stores

  security_group_id            = aws_security_group.store[each.key].id
  description                  = "${each.value.what} from routers"
  referenced_security_group_id = local.routers
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "store" {
  for_each = local.stores

  security_group_id            = local.routers
  description                  = each.value.what
  referenced_security_group_id = aws_security_group.store[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = var.tags
}

# Providers, AWS's own APIs, log witnesses: all of them are HTTPS.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = var.makes_router_group ? toset(var.https_cidrs) : toset([])

  security_group_id = local.routers
  description       = "HTTPS to providers and AWS"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = var.tags
}
