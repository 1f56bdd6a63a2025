output "arns" {
  description = "ARNs by purpose: data, secrets, wrapping"
  value       = { for purpose, key in aws_kms_key.this : purpose => key.arn }
}
