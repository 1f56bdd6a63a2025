output "configuration" {
  description = "ECS only: sovereign.yaml as routers have it, with `storage`, `keystore` and `ingress.tls`. No secret is in it"
  value       = local.on_ecs ? local.configuration : null
}

output "secret_arns" {
  description = "Startup secrets by name. `tls` is yours to fill in"
  value       = module.data.secret_arns
}

output "provider_key_prefix" {
  description = "Provider keys in Secrets Manager are at PREFIX/TENANT/PROVIDER, shared ones at PREFIX/SHARED/PROVIDER"
  value       = local.provider_key_prefix
}

output "key_arns" {
  description = "KMS keys by purpose: data, secrets, wrapping"
  value       = module.keys.arns
}

output "router_role_arn" {
  description = "The router's role: what providers' accounts let in"
  value       = module.identity.router_role_arn
}

output "startup_policy_arn" {
  description = "Policy that reads the startup secrets, for whoever hands them to routers"
  value       = module.identity.startup_policy_arn
}

output "router_security_group_id" {
  description = "The routers' security group"
  value       = module.network.router_security_group_id
}

output "tiles_bucket" {
  description = "Name of the tiles' bucket"
  value       = module.data.bucket.name
}

output "log_keys" {
  description = "EFS file system and access point of the log's signing keys"
  value       = module.data.log_keys
}

output "addresses" {
  description = "Hosts of database and Valkey"
  value       = { database = module.data.database_address, counters = module.data.counters_address }
}

output "balancer" {
  description = "ECS only: the load balancer; a DNS name of yours, the certificate's, points to it"
  value       = one(module.ecs[*].balancer)
}

output "ecs" {
  description = "ECS only: cluster, service and task definition"
  value       = one(module.ecs[*].names)
}

output "helm_values" {
  description = "EKS only: values for the chart helm/sovereign-router, as YAML. No secret is in it"
  value       = local.on_ecs ? null : yamlencode(local.helm_values)
}

output "kubernetes_objects" {
  description = "EKS only: what the chart expects to find, as YAML for `kubectl apply`: volume and claim of the log's keys, and a SecretStore unless `eks.secret_store` names one"
  value       = local.on_ecs ? null : join("---\n", [for each in local.kubernetes_objects : yamlencode(each)])
}

output "eks" {
  description = "EKS only: annotations of the Service, and the role of `secrets_reader`"
  value = local.on_ecs ? null : {
    service_annotations = module.eks[0].service_annotations
    startup_role_arn    = module.eks[0].startup_role_arn
  }
}
