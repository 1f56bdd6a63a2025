"""The comments in rendered configurations: why each part is there, for whoever reads Envoy's YAML and not our code.

Keys are paths as ``commented`` matches them, from the most to the least specific. The tests hold that every one of
them matches something that is rendered.
"""

from __future__ import annotations

from typing import Final

ORIGIN: Final = """
Made by `sovereign envoy render --mode {mode}`; change sovereign.yaml and render again. Needs Envoy 1.40 or newer."""

ORIGIN_BELOW: Final = """
Made by `sovereign envoy render --below-1.40 --mode {mode}`; change sovereign.yaml and render again. \
Needs Envoy 1.37 or newer."""

XDS_HEAD: Final = "One discovery response of the set that `sovereign envoy render --mode xds` writes."

HEADS: Final = {
    "gateway.yaml": "An Envoy at the edge: TLS, limits, overload protection, an access log. docs/deploy/gateway.md",
    "sidecar.yaml": "An Envoy beside one application, on loopback. docs/deploy/sidecar.md",
    "snippet.yaml": "The pieces for an Envoy whose bootstrap you write yourself. docs/deploy/own-envoy.md says where "
    "each goes.",
    "bootstrap.yaml": "What Envoy is started with; everything else comes from the files beside it.",
}

NOTES: Final = {
    "admin": "Only on a Unix socket, for its owner: whoever reaches it may drain and stop Envoy. The processor asks "
    "here which providers Envoy has taken up; `sovereign envoy drain` drains here.",
    "overload_manager": "What is given up as memory or connections run out, in this order. No stream is reset.",
    "overload_manager/resource_monitors/envoy.resource_monitors.global_downstream_max_connections": (
        "Connections of clients. The internal listener and admin do not count."
    ),
    "bootstrap_extensions": "Lets attempts run through a listener without a port (egress, below).",
    "static_resources/listeners": "egress is the internal hop that each attempt at a provider takes; ingress faces "
    "clients.",
    "dynamic_resources": "Files that the processor keeps. A provider that is added in sovereign.yaml, or by the "
    "management API, is in use without a restart of anybody.",
    "http_connection_manager": "What your connection manager has to have for the processor; ports, TLS, limits and "
    "logs are yours.",
    "virtual_host": "Calls of models. Put your own routes before `walk`, and switch our filters off on them.",
    "virtual_host/request_body_buffer_limit": "limits.max_request_bytes. Without it Envoy's buffers of 1 MiB decide.",
    "management_routes": "Receipts, the log and the management API. To serve them from this Envoy, put them before "
    "`walk`; without them such paths are answered 404.",
    "listeners": "The internal hop that each attempt at a provider takes.",
    "static_resources/clusters/processor": "The ext_proc service, on a Unix socket for each worker. Circuit breakers "
    "are off here: Envoy's default of 1024 requests would be a limit of calls that nobody has set.",
    "static_resources/clusters": "The processor on its Unix sockets.",
    "clusters/processor.1": "Each worker by itself: a call's attempts go to the one that has the call, also when it "
    "takes no new ones.",
    "health_checks": "A worker that ends or hangs is asked no more within about a second.",
    "grpc_service/retry_policy": "A worker that is not there was told nothing yet: another one is asked.",
    "clusters": "The processor on its Unix sockets, then those of each provider. Their names carry a digest of the "
    "provider's settings, as the processor computes it: whenever those change, render again, load it here, then "
    "restart the processor.",
    "clusters/processor": "The ext_proc service. Circuit breakers are off here and below: Envoy's default of 1024 "
    "requests would be a limit of calls that nobody has set.",
    "management": "Receipts, the log, the management API: gRPC, made JSON by the transcoder filter.",
    "clusters/attempts": "For every attempt of every call: the internal listener, where the processor says on arrival "
    "which provider it is for.",
    "unplanned": "Leads nowhere: where a call would go that the processor has not planned.",
    "secrets": "The service that hands out certificates (SDS).",
    "per_connection_buffer_limit_bytes": "How much of an answer is held for a slow client before its provider is not "
    "read any more. The processor's time limits count on this number.",
    "ingress/traffic_direction": "`sovereign envoy drain` closes inbound listeners only.",
    "egress/ignore_global_conn_limit": "One client's call is one connection, however many attempts it takes.",
    "ingress-http3": "HTTP/3 on the same port, UDP. Clients learn of it from the header alt-svc.",
    "xff_num_trusted_hops": "ingress.trusted_hops: how many proxies in front are believed about the client's address.",
    "path_with_escaped_slashes_action": "A model's name may have an escaped slash (/v1/models/org%2Fname).",
    "max_request_headers_kb": "ingress.limits.header_kib",
    "stream_flush_timeout": "A client that does not take the rest of a finished answer is dropped.",
    "stream_idle_timeout": "None here: how long a provider may be silent is the processor's to say, for each one.",
    "request_headers_timeout": "A client that sends its headers slowly, and one that sends its body slowly.",
    "forward_client_cert_details": "x-forwarded-client-cert of a client never counts, unless "
    "ingress.trust_forwarded_certificates says that a proxy sets it.",
    "access_log": "One JSON object for each call: no header that may hold a key, no query, nothing of a body. What "
    "health_check answered is left out, also while a drain fails the probes.",
    "http2_protocol_options/connection_keepalive": "A client that has gone without a word is noticed within 80 s.",
    "headers_with_underscores_action": "Proxies disagree whether x_y is x-y; nobody here needs such a header.",
    "http_filters/envoy.filters.http.health_check": "For balancers: 200, and 503 from when a drain begins.",
    "http_filters/sovereign.workload": "Whoever can connect here is this workload (--workload), whatever "
    "it says itself.",
    "http_filters/sovereign.content_length": "A body that ext_proc replaced has lost its length, which some providers "
    "insist on.",
    "http_filters/envoy.filters.http.header_mutation": "Does nothing by itself; some routes ask things of it.",
    "http_filters/sovereign.management_bodies": "Off but for management calls with a body, whose JSON it checks.",
    "http_filters/envoy.filters.http.grpc_json_transcoder": "JSON for the management API; off for calls of models.",
    "http_filters/envoy.filters.http.ext_proc": "The processor. On ingress it decides who may answer, on egress it "
    "translates for one provider and judges the answer. A failure of it fails the call: nothing passes unseen.",
    "local_reply_config": "What Envoy answers by itself, as OpenAI's SDKs read errors. Answers of our own are left as "
    "they are.",
    "inline_cluster_specifier_plugin": "Attempt n goes to element n of the list that the processor planned for this "
    "call. The list here is for a call without a plan: it leads nowhere.",
    "retry_policy/retriable_headers": "Set by the processor on an attempt's answer when the next provider "
    "is to be tried.",
    "common_tls_context/tls_certificate_sds_secret_configs": "Followed: a renewed certificate needs no restart.",
}

MESH_HEADS: Final = {
    "istio/envoyfilter.yaml": "Our listeners and clusters, added to those that Istio gives to one gateway of its own. "
    "docs/deploy/mesh.md",
    "istio/deployment.yaml": "The gateway: Istio's proxy, which its injector fills in, and the processor beside it.",
    "istio/service.yaml": "Where clients find the gateway.",
    "envoy-gateway/envoypatchpolicy.yaml": "Our listeners and clusters, added to those that Envoy Gateway gives to one "
    "Gateway. Takes extensionApis.enableEnvoyPatchPolicy. docs/deploy/mesh.md",
    "kgateway/configmap.yaml": "Our listeners and clusters, which Envoy adds to those of kgateway's bootstrap. "
    "docs/deploy/mesh.md",
    "kgateway/gatewayparameters.yaml": "The pod of the Gateway: what Envoy is started with, the processor beside it.",
    "kgateway/gateway.yaml": "The Gateway that the other objects belong to.",
    "kgateway/service.yaml": "Where clients find our listener. The Service that kgateway makes has the ports of the "
    "Gateway only.",
    "envoy-gateway/envoyproxy.yaml": "The pod of that Gateway: Envoy, and the processor beside it.",
    "envoy-gateway/gateway.yaml": "The Gateway that the other objects belong to.",
    "envoy-gateway/service.yaml": "Where clients find our listener. The Service that Envoy Gateway makes has the ports "
    "of the Gateway only.",
}

_PATCHES: Final = (
    "Clusters first: the processor on its Unix sockets, then those of each provider. Then the listeners that lead to "
    "them: egress is the internal hop that each attempt at a provider takes, ingress faces clients. Routes are in "
    "files that the processor keeps. Names of clusters carry a digest of the provider's settings: when those change, "
    "render again, apply it, then change the processor's configuration. "
)

MESH_NOTES: Final = {
    "spec/workloadSelector": "Only the pods of deployment.yaml. In Istio's root namespace this would be every one "
    "with the label.",
    "configPatches": _PATCHES + "Istio's own bootstrap has the extension for internal listeners.",
    "jsonPatches": _PATCHES + "Without a path a patch adds a whole resource.",
    "spec/bootstrap": "Lets attempts run through a listener without a port (egress, in envoypatchpolicy.yaml).",
    "spec/shutdown": "Longer than the longest stream: Envoy lets open calls end.",
    "spec/listeners": "A Gateway has to have one. Nothing leads there. Ours is in envoypatchpolicy.yaml, for kgateway "
    "in configmap.yaml.",
    "infrastructure": "The pod, in the file beside this one.",
    "extraArgs": "Beside kgateway's own bootstrap, which is on Envoy's command line. Lists of both are joined.",
    "gracefulShutdown": "Always so long: kgateway ends Envoy without a look at open calls, so a stream that is longer "
    "is cut.",
    "kube/deployment": "One: key and log are on one volume. More need a shared database, see the Helm chart.",
    "spec/replicas": "One: key and log are on one volume. More need a shared database, see the Helm chart.",
    "envoyDeployment/replicas": "One: key and log are on one volume. More need a shared database, see the Helm chart.",
    "annotations/sidecar.istio.io/rewriteAppHTTPProbers": "The kubelet asks the processor itself: it has to be up "
    "before Istio's agent, which could not ask it.",
    "processor/startupProbe": "Its files are there when this one is. Not by gRPC, so that nothing stands between.",
    "annotations/proxy.istio.io/config": "Envoy ends when no call is open.",
    "terminationGracePeriodSeconds": "Longer than the longest stream.",
    "securityContext/fsGroup": "The user of Envoy's container: both containers open each other's sockets and files.",
    "initContainers": "A sidecar of Kubernetes' kind (1.29 or newer): it has written Envoy's files before Envoy "
    "starts, and ends after it.",
    "processor/envFrom": "Keys of providers, as credential: {env: ...} names them.",
    "volumes/envoy-files": "What Envoy sees of the configuration: files that it names, and our certificate.",
    "container/image": "Envoy Gateway 1.9 itself brings Envoy 1.39.",
    "containers/istio-proxy": "The injector puts Istio's proxy in here. It has to be built from such an Envoy.",
}
