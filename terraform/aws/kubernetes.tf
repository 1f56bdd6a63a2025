# On EKS the chart helm/sovereign-router runs the router. Here is what it has to be told, and the objects that it expects to
# find; both are outputs, so nobody copies a name by hand. Nothing in them is secret: they name secrets.

locals {
  database_ca_directory = "/run/secrets/database-ca"

  kubernetes_names = {
    claim       = "${var.name}-log-keys"
    storage     = "${var.name}-storage"
    tls         = "${var.name}-tls"
    database_ca = "${var.name}-database-ca"
  }

  secret_store = try(coalesce(var.eks.secret_store, { name = "${var.name}-aws", kind = "SecretStore" }), null)

  # Secrets of Kubernetes that External Secrets makes, each key from one of Secrets Manager.
  external_secrets = [
    {
      name = local.kubernetes_names.storage
      data = [for key in ["database-url", "counters-url", "key-hash"] : { secretKey = key, remoteRef = { key = "${var.name}/${key}" } }]
    },
    {
      name = local.kubernetes_names.tls
      data = [
        { secretKey = "tls.crt", remoteRef = { key = "${var.name}/tls", property = "certificate" } },
        { secretKey = "tls.key", remoteRef = { key = "${var.name}/tls", property = "key" } },
      ]
    },
    {
      name = local.kubernetes_names.database_ca
      data = [{ secretKey = "ca.pem", remoteRef = { key = "${var.name}/database-ca" } }]
    },
  ]

  # values.schema.json of the chart. It writes `storage` and `ingress.tls` itself.
  helm_values = local.on_ecs ? null : merge(
    try({ image = { repository = split("@", var.eks.image)[0], digest = split("@", var.eks.image)[1] } }, {}),
    {
      replicas = 2
      config   = merge(local.given, { keystore = local.keystore })
      storage = {
        mode        = "shared"
        persistence = { enabled = true, size = "1Gi" }
        shared = {
          database = { secret = local.kubernetes_names.storage, key = "database-url" }
          valkey   = { secret = local.kubernetes_names.storage, key = "counters-url" }
          keyHash  = { secret = local.kubernetes_names.storage, key = "key-hash" }
          claim    = local.kubernetes_names.claim
          s3 = {
            endpoint  = local.storage.tiles.s3.endpoint
            bucket    = local.storage.tiles.s3.bucket
            prefix    = local.storage.tiles.s3.prefix
            region    = local.storage.tiles.s3.region
            pathStyle = local.storage.tiles.s3.path_style
          }
        }
      }
      externalSecrets = { enabled = true, store = local.secret_store, secrets = local.external_secrets }
      secrets         = { env = [], files = [{ secret = local.kubernetes_names.database_ca, path = local.database_ca_directory }] }
      tls             = { secret = local.kubernetes_names.tls }
      service         = { type = "LoadBalancer", annotations = module.eks[0].service_annotations }
      serviceAccount  = { create = true, name = var.eks.service_account }
      drain           = { longestStreamSeconds = max(1, var.drain_s) }
      networkPolicy = {
        egressPorts = [443, 5432, 6379]
        # The agent of Pod Identity, which hands out the role's keys.
        egress = [{ to = [{ ipBlock = { cidr = "169.254.170.23/32" } }], ports = [{ protocol = "TCP", port = 80 }] }]
      }
    },
  )

  kubernetes_objects = local.on_ecs ? null : concat(
    [
      {
        apiVersion = "v1"
        kind       = "PersistentVolume"
        metadata   = { name = local.kubernetes_names.claim }
        spec = {
          accessModes                   = ["ReadWriteMany"]
          capacity                      = { storage = "1Gi" } # has to be said; EFS has no size
          persistentVolumeReclaimPolicy = "Retain"
          storageClassName              = ""
          mountOptions                  = ["tls", "iam"]
          claimRef                      = { namespace = var.eks.namespace, name = local.kubernetes_names.claim }
          csi = {
            driver       = "efs.csi.aws.com"
            volumeHandle = "${module.data.log_keys.file_system_id}::${module.data.log_keys.access_point_id}"
          }
        }
      },
      {
        apiVersion = "v1"
        kind       = "PersistentVolumeClaim"
        metadata   = { name = local.kubernetes_names.claim, namespace = var.eks.namespace }
        spec = {
          accessModes      = ["ReadWriteMany"]
          resources        = { requests = { storage = "1Gi" } }
          storageClassName = ""
          volumeName       = local.kubernetes_names.claim
        }
      },
    ],
    # Without `auth` the operator asks as itself: `secrets_reader`, or whoever else has the policy of the startup secrets.
    [for store in [local.secret_store] : {
      apiVersion = "external-secrets.io/v1"
      kind       = "SecretStore"
      metadata   = { name = store.name, namespace = var.eks.namespace }
      spec       = { provider = { aws = { service = "SecretsManager", region = local.account.region } } }
    } if var.eks.secret_store == null],
  )
}
