variable "ecs" {
  description = "Run on ECS Fargate: images by digest, size of a task (Fargate's pairs of `cpu` and `memory_mib`), how many. Exactly one of `ecs` and `eks`"
  type = object({
    image               = string
    envoy_image         = string
    ecr_repository_arns = optional(list(string), [])
    balancer_subnet_ids = optional(list(string))
    architecture        = optional(string, "X86_64")
    cpu                 = optional(number, 2048)
    memory_mib          = optional(number, 4096)
    replicas            = optional(number, 2)
    log_retention_days  = optional(number, 90)
    environment         = optional(map(string), {})
  })
  default = null

  validation {
    condition     = (var.ecs == null) != (var.eks == null)
    error_message = "Give exactly one of `ecs` and `eks`."
  }

  validation {
    condition     = var.ecs == null || alltrue([for image in [try(var.ecs.image, ""), try(var.ecs.envoy_image, "")] : can(regex("^[^\\s@]+@sha256:[0-9a-f]{64}$", image))])
    error_message = "Images are named by digest: NAME@sha256: and 64 hexadecimal digits. A tag can come to mean another image."
  }

  validation {
    condition     = var.ecs == null || alltrue([for arn in try(var.ecs.ecr_repository_arns, []) : can(regex("^arn:aws[a-z-]*:ecr:[a-z0-9-]+:[0-9]{12}:repository/[a-z0-9._/-]+$", arn))])
    error_message = "Repositories are given by full ARNs, without wildcards."
  }

  validation {
    condition     = var.ecs == null || contains(["X86_64", "ARM64"], try(var.ecs.architecture, ""))
    error_message = "The architecture is X86_64 or ARM64."
  }

  validation {
    condition     = var.ecs == null || contains([1024, 2048, 4096, 8192, 16384], try(var.ecs.cpu, 0)) && try(var.ecs.memory_mib >= 2 * var.ecs.cpu && var.ecs.memory_mib <= 8 * var.ecs.cpu, false)
    error_message = "cpu is 1024, 2048, 4096, 8192 or 16384, memory_mib twice to eight times that."
  }

  validation {
    condition     = var.ecs == null || try(var.ecs.replicas >= 0 && floor(var.ecs.replicas) == var.ecs.replicas, false)
    error_message = "A whole number of tasks; 0 stops all of them."
  }

  # Whatever begins so belongs to a secret of this module, or is a provider's key.
  validation {
    condition     = var.ecs == null || alltrue([for name in keys(try(var.ecs.environment, {})) : !startswith(name, "SOVEREIGN_")])
    error_message = "Variables that begin with SOVEREIGN_ hold secrets; they are not given here."
  }
}

variable "eks" {
  description = "Run on an EKS cluster that is there, with the Pod Identity agent. `security_group_id` is the pods'; `image` the chart's, by digest; `secrets_reader` the service account of External Secrets, which is to read the startup secrets; without it, give the role that does the policy of the output `startup_policy_arn`; `secret_store` a store of External Secrets that is there, instead of one that the output `kubernetes_objects` makes"
  type = object({
    cluster_name      = string
    security_group_id = string
    namespace         = optional(string, "sovereign")
    service_account   = optional(string, "sovereign-router")
    image             = optional(string)
    secrets_reader    = optional(object({ namespace = string, service_account = string }))
    secret_store      = optional(object({ name = string, kind = string }))
    log_keys_role_arn = string
  })
  default = null

  validation {
    condition     = var.eks == null || can(regex("^sg-[0-9a-f]{8,17}$", var.eks.security_group_id))
    error_message = "The pods' security group is given by its id, sg-…."
  }

  validation {
    condition     = var.eks == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$", var.eks.log_keys_role_arn))
    error_message = "log_keys_role_arn is the full ARN of the role that mounts EFS: that of the EFS CSI driver's nodes."
  }

  # The chart takes name and digest apart, and no tag beside them.
  validation {
    condition     = try(var.eks.image, null) == null || can(regex("^[^\\s@:]+(:[0-9]+/[^\\s@:]+)?@sha256:[0-9a-f]{64}$", var.eks.image))
    error_message = "The image is named by digest and without a tag: NAME@sha256: and 64 hexadecimal digits."
  }

  validation {
    condition     = try(var.eks.secret_store, null) == null || contains(["SecretStore", "ClusterSecretStore"], try(var.eks.secret_store.kind, ""))
    error_message = "The store's kind is SecretStore or ClusterSecretStore."
  }
}
