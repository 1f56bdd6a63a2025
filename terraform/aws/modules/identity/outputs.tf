output "router_role_arn" {
  description = "The router's role"
  value       = aws_iam_role.router.arn
}

output "startup_policy_arn" {
  description = "Policy for whoever hands the startup secrets to a router"
  value       = aws_iam_policy.startup.arn
}
