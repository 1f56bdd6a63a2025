# For a cluster that is there: the router's role for its service account, by EKS Pod Identity. Workload, service and load
# balancer are Kubernetes' matter; what they need is in the outputs.

resource "aws_eks_pod_identity_association" "router" {
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = var.router_role_arn
  tags            = var.tags
}

# Whoever copies startup secrets into the namespace: External Secrets, as a rule. Not the router itself.
resource "aws_iam_role" "startup" {
  count = var.secrets_reader == null ? 0 : 1

  name               = "${var.name}-startup"
  description        = "Reads the startup secrets of ${var.name} for ${var.namespace}"
  tags               = var.tags
  assume_role_policy = var.assume_role_policy
}

resource "aws_iam_role_policy_attachment" "startup" {
  count = var.secrets_reader == null ? 0 : 1

  role       = aws_iam_role.startup[0].name
  policy_arn = var.startup_policy_arn
}

resource "aws_eks_pod_identity_association" "startup" {
  count = var.secrets_reader == null ? 0 : 1

  cluster_name    = var.cluster_name
  namespace       = var.secrets_reader.namespace
  service_account = var.secrets_reader.service_account
  role_arn        = aws_iam_role.startup[0].arn
  tags            = var.tags
}
