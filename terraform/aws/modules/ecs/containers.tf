# Four containers: one that prepares files and ends, the processor, Envoy, one that drains Envoy. File systems are read-only but for volumes;
# volumes of Fargate belong to root at first, so the one that prepares is root and gives them away.

locals {
  user = "${var.user_id}:${var.user_id}"

  logging = {
    for name, group in aws_cloudwatch_log_group.this : name => {
      logDriver = "awslogs"
      options = {
        awslogs-group         = group.name
        awslogs-region        = var.account.region
        awslogs-stream-prefix = name
      }
    }
  }

  mounts = {
    config = { sourceVolume = "config", containerPath = var.paths.config, readOnly = true }
    run    = { sourceVolume = "run", containerPath = var.paths.run, readOnly = false }
    state  = { sourceVolume = "state", containerPath = var.paths.state, readOnly = false }
    tmp    = { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }
    keys   = { sourceVolume = "log-keys", containerPath = var.paths.log_keys, readOnly = false }
  }

  # umask: what is written is for its owner only. Variables hold the files' text; it is not in any argument list.
  prepare_script = <<-SH
    set -eu
    umask 077
    cd ${var.paths.config}
    printf '%s' "$SOVEREIGN_YAML" > sovereign.yaml
    printf '%s\n' "$DATABASE_CA" > ${basename(var.paths.database_ca)}
    printf '%s\n' "$TLS_CERTIFICATE" > tls.crt
    printf '%s\n' "$TLS_KEY" > tls.key
    sovereign check sovereign.yaml
    sovereign envoy render --mode gateway --config sovereign.yaml --out . --config-dir ${var.paths.config} --state-dir ${var.paths.state} --run-dir ${var.paths.run} --envoy-dir ${var.paths.run}/envoy --roots ${var.paths.roots} --listen 0.0.0.0:${local.port} --public-port 443
    chown -R ${local.user} ${var.paths.config} ${var.paths.run} ${var.paths.state}
    chmod 1777 /tmp
  SH

  prepare = {
    name                   = "prepare"
    image                  = var.image
    essential              = false
    user                   = "0:0"
    readonlyRootFilesystem = true
    entryPoint             = ["/bin/sh", "-c"]
    command                = [local.prepare_script]
    environment = [
      { name = "SOVEREIGN_YAML", value = var.configuration },
      { name = "DATABASE_CA", value = var.database_ca },
    ]
    secrets = [
      { name = "TLS_CERTIFICATE", valueFrom = "${var.secret_arns["tls"]}:certificate::" },
      { name = "TLS_KEY", valueFrom = "${var.secret_arns["tls"]}:key::" },
    ]
    mountPoints = [
      merge(local.mounts.config, { readOnly = false }), local.mounts.run, local.mounts.state, local.mounts.tmp,
    ]
    logConfiguration = local.logging["prepare"]
  }

  # The gRPC health name `liveness`: the process answers. Readiness would have all tasks replaced when the database is
  # away, which helps nobody.
  liveness = "import grpc; c = grpc.insecure_channel('unix:${var.paths.run}/management.sock'); a = c.unary_unary('/grpc.health.v1.Health/Check')(b'\\n\\x08liveness', timeout=4); raise SystemExit(a != b'\\x08\\x01')"

  processor = {
    name                   = "processor"
    image                  = var.image
    essential              = true
    user                   = local.user
    readonlyRootFilesystem = true
    stopTimeout            = 120 # the most that Fargate knows; streams had the balancer's delay before
    entryPoint             = ["sovereign"]
    command = [
      "processor", "--config", "${var.paths.config}/sovereign.yaml", "--state-dir", var.paths.state,
      "--run-dir", var.paths.run, "--envoy-dir", "${var.paths.run}/envoy", "--roots", var.paths.roots,
    ]
    environment = [for name, value in var.environment : { name = name, value = value }]
    secrets = [
      { name = "SOVEREIGN_DATABASE_URL", valueFrom = var.secret_arns["database-url"] },
      { name = "SOVEREIGN_COUNTERS_URL", valueFrom = var.secret_arns["counters-url"] },
      { name = "SOVEREIGN_KEY_HASH", valueFrom = var.secret_arns["key-hash"] },
    ]
    mountPoints = [local.mounts.config, local.mounts.run, local.mounts.state, local.mounts.tmp, local.mounts.keys]
    dependsOn   = [{ containerName = "prepare", condition = "SUCCESS" }]
    healthCheck = {
      command     = ["CMD", "python3", "-c", local.liveness]
      interval    = 15
      timeout     = 10
      retries     = 4
      startPeriod = 120
    }
    linuxParameters  = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }
    logConfiguration = local.logging["processor"]
  }

  # What starts last is stopped first: the drain, then Envoy, then the processor, which writes the last entries.
  envoy = {
    name                   = "envoy"
    image                  = var.envoy_image
    essential              = true
    user                   = local.user
    readonlyRootFilesystem = true
    stopTimeout            = 120
    entryPoint             = ["envoy"]
    command                = ["-c", "${var.paths.config}/gateway.yaml", "--disable-hot-restart", "--log-level", "warning"]
    portMappings           = [{ containerPort = local.port, hostPort = local.port, protocol = "tcp" }]
    mountPoints            = [local.mounts.config, local.mounts.run, local.mounts.tmp]
    dependsOn = [
      { containerName = "prepare", condition = "SUCCESS" },
      { containerName = "processor", condition = "HEALTHY" },
    ]
    linuxParameters  = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }
    logConfiguration = local.logging["envoy"]
  }

  # ECS knows no preStop. This one waits for its signal and then asks Envoy to finish; Envoy's own image could not.
  drain = {
    name                   = "drain"
    image                  = var.image
    essential              = true
    user                   = local.user
    readonlyRootFilesystem = true
    stopTimeout            = 120
    entryPoint             = ["/bin/sh", "-c"]
    command = [<<-SH
      trap 'sovereign envoy drain --run-dir ${var.paths.run} --within-s 110; exit 0' TERM
      while :; do sleep 3600 & wait $!; done
    SH
    ]
    mountPoints      = [local.mounts.run, local.mounts.tmp]
    dependsOn        = [{ containerName = "envoy", condition = "START" }]
    linuxParameters  = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }
    logConfiguration = local.logging["drain"]
  }
}
