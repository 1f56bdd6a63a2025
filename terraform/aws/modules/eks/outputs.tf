output "service_annotations" {
  description = "For a Service of type LoadBalancer: AWS Load Balancer Controller 2.11 or newer makes the same balancer of it"
  value = {
    "service.beta.kubernetes.io/aws-load-balancer-type"                            = "external"
    "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"                 = "ip"
    "service.beta.kubernetes.io/aws-load-balancer-scheme"                          = var.internal ? "internal" : "internet-facing"
    "service.beta.kubernetes.io/load-balancer-source-ranges"                       = join(",", var.client_cidrs)
    "service.beta.kubernetes.io/aws-load-balancer-listener-attributes.TCP-443"     = "tcp.idle_timeout.seconds=${var.idle_timeout_s}"
    "service.beta.kubernetes.io/aws-load-balancer-attributes"                      = "load_balancing.cross_zone.enabled=true,deletion_protection.enabled=true"
    "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes"         = "preserve_client_ip.enabled=true,deregistration_delay.timeout_seconds=${var.drain_s},deregistration_delay.connection_termination.enabled=false"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol"            = "HTTPS"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-path"                = "/healthz"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval"            = "10"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-timeout"             = "5"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-healthy-threshold"   = "2"
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-unhealthy-threshold" = "2"
  }
}

output "startup_role_arn" {
  description = "Role of the service account that reads startup secrets, if one was named"
  value       = one(aws_iam_role.startup[*].arn)
}
