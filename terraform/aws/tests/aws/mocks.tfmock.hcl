# AWS as the runs see it: they need no account and make nothing.
mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_region" {
  defaults = { region = "eu-central-1" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}

# The provider itself looks at the form of these.
mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::123456789012:policy/mocked" }
}

mock_resource "aws_lb" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/mocked/0123456789abcdef" }
}

mock_resource "aws_lb_target_group" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/mocked/0123456789abcdef" }
}

mock_resource "aws_ecs_task_definition" {
  defaults = { arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/mocked:1" }
}

mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::mocked" }
}

mock_resource "aws_efs_file_system" {
  defaults = { arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123456789abcdef0" }
}

mock_resource "aws_efs_access_point" {
  defaults = { arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0" }
}

override_resource {
  target = module.keys.aws_kms_key.this["data"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-0000-0000-0000-000000000000", key_id = "11111111-0000-0000-0000-000000000000" }
}

override_resource {
  target = module.keys.aws_kms_key.this["secrets"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/22222222-0000-0000-0000-000000000000", key_id = "22222222-0000-0000-0000-000000000000" }
}

override_resource {
  target = module.keys.aws_kms_key.this["wrapping"]
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/33333333-0000-0000-0000-000000000000", key_id = "33333333-0000-0000-0000-000000000000" }
}
