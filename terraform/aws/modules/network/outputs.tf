output "router_security_group_id" {
  description = "The group that routers have"
  value       = local.routers
}

output "store_security_group_ids" {
  description = "Groups of the stores: database, counters, files"
  value       = { for store, group in aws_security_group.store : store => group.id }
}
