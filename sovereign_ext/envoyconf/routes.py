"""Routes: the fallback walk on the client side, one route per provider and mode on the internal hop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any as Json
from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.config.route.v3 import (
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ExtProcOverrides, ExtProcPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutationPerRoute,
    Mutations,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import processors
from sovereign_ext.envoyconf.clusters import ATTEMPTS_CLUSTER, MANAGEMENT_CLUSTER, UNPLANNED_CLUSTER
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import (
    METADATA,
    MODE_HEADER,
    PLAN_METADATA,
    TARGET_HEADER,
    WALK_HEADER,
    WORKER_HEADER,
    provider_cluster,
)
from sovereign_ext.envoyconf.typed import plain

EXT_PROC: Final = "envoy.filters.http.ext_proc"
TRANSCODER: Final = "envoy.filters.http.grpc_json_transcoder"
HEADER_MUTATION: Final = "envoy.filters.http.header_mutation"
BODIES: Final = "sovereign.management_bodies"
_WITH_BODIES: Final = ("POST", "PATCH")
FOREIGN_HEADER: Final = ".*[^0-9a-z_.:-].*|.*-bin|grpc-.*"
"""Names of headers that HTTP allows and gRPC does not, or reads as its own: of what ends in ``-bin`` the base64."""
INGRESS_ROUTES: Final = "ingress"
EGRESS_ROUTES: Final = "egress"
_STREAM_IDLE_S: Final = 300
_PLUGIN: Final = "envoy.router.cluster_specifier_plugin.priority_group"
_PLUGIN_TYPE: Final = "type.googleapis.com/envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"  # noqa: E501 - a name


def ingress(layout: Layout, served: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """Management calls to the processor's own services, which are ``served``, everything else into the walk."""
    return {"name": INGRESS_ROUTES, "virtual_hosts": [host(layout, [*served, walk(layout)])]}


def host(layout: Layout, found: list[dict[str, Json]]) -> dict[str, Json]:
    """Whatever name a client calls us by. Bodies are buffered up to our limit, not Envoy's."""
    return {
        "name": "sovereign",
        "domains": ["*"],
        "include_request_attempt_count": True,
        "request_body_buffer_limit": layout.max_request_bytes,
        "routes": found,
    }


def walk(layout: Layout) -> dict[str, Json]:
    """Every other call: through the ext_proc filter, then along the list that the processor has planned.

    The processor answers every path that is not a model call, so nothing is ever proxied that it did not plan. An
    older Envoy has one cluster for every attempt, and the attempt itself says which provider it is for.
    """
    route = Route(
        name="walk",
        match=RouteMatch(prefix="/"),
        typed_per_filter_config={TRANSCODER: Any.pack(FilterConfig(disabled=True))},
        response_headers_to_remove=[WALK_HEADER],
        response_headers_to_add=[
            HeaderValueOption(  # an answer that Envoy made on the internal hop does not know it
                header=HeaderValue(
                    key="x-sf-decision-id", value=f"%DYNAMIC_METADATA({METADATA}:decision_id)%"
                ),
                append_action=HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT,
            )
        ],
        route=RouteAction(
            cluster=ATTEMPTS_CLUSTER if layout.older else None,
            timeout=timedelta(0),
            retry_policy=RetryPolicy(
                retry_on="retriable-headers,reset,connect-failure",
                retriable_headers=[HeaderMatcher(name=WALK_HEADER, present_match=True)],
                num_retries=0,  # set per call by the processor: the number of elements after the first
                refresh_cluster_on_retry=not layout.older,
                retry_back_off=RetryPolicyRetryBackOff(
                    base_interval=timedelta(milliseconds=1), max_interval=timedelta(milliseconds=1)
                ),
            ),
        ),
    )
    rendered = plain(route)
    if not layout.older:  # The typed models do not have the priority_group specifier.
        rendered["route"] = {"inline_cluster_specifier_plugin": _priority_group(), **rendered["route"]}
    return rendered


def management(layout: Layout) -> list[dict[str, Json]]:
    """Calls to the processor's own services. Most of a hundred routes differ in what they match only, and rendering
    takes its time: what is alike is rendered once."""
    alike = {
        (bodies, streamed): plain(_management_route(bodies=bodies, streamed=streamed))
        for bodies in (False, True)
        for streamed in (False, True)
    }
    return [
        {
            "name": "management",
            "match": plain(_path(method, path, regex)),
            **alike[method in _WITH_BODIES, regex in layout.streamed],
        }
        for method, path, regex in layout.management_routes
    ]


def _management_route(*, bodies: bool, streamed: bool) -> Route:
    overrides = {
        EXT_PROC: Any.pack(ExtProcPerRoute(disabled=True)),
        HEADER_MUTATION: Any.pack(HeaderMutationPerRoute(mutations=_no_foreign_headers())),
    }
    if bodies:  # what names a filter that is disabled enables it
        overrides[BODIES] = Any.pack(ExtProcPerRoute(overrides=ExtProcOverrides()))
    return Route(
        route=_management_action(streamed=streamed),
        typed_per_filter_config=overrides,
        response_headers_to_remove=["grpc-accept-encoding"],
    )


def _priority_group() -> dict[str, Json]:
    return {
        "extension": {
            "name": _PLUGIN,
            "typed_config": {
                "@type": _PLUGIN_TYPE,
                # Only a call that the processor has planned is routed; the default leads nowhere.
                "priority_groups": [
                    {"name": "none", "clusters": [{"cluster_name": UNPLANNED_CLUSTER, "weight": 1}]}
                ],
                "override_metadata_namespace": PLAN_METADATA,
            },
        }
    }


def egress(providers: Iterable[Provider], workers: int = 1) -> dict[str, Json]:
    """Two routes per provider: streams have its first-byte limit, whole answers their own.

    With several workers two for each of them: an attempt is shown to the worker that has its exchange.
    """
    targets = list(providers)
    found = [
        route
        for worker in processors.numbers(workers)
        for provider in targets
        for route in _to_provider(provider, worker)
    ]
    host = VirtualHost(name="providers", domains=["*"], routes=found)
    internal = [TARGET_HEADER, MODE_HEADER, *([WORKER_HEADER] if workers > 1 else []), "x-forwarded-proto"]
    return plain(
        RouteConfiguration(name=EGRESS_ROUTES, virtual_hosts=[host], request_headers_to_remove=internal)
    )


def _to_provider(provider: Provider, worker: int | None) -> Iterator[Route]:
    cluster = provider_cluster(provider)
    for mode in ("stream", "json"):
        limit = provider.timeouts.first_byte_limit_ms(stream=mode == "stream")
        action = RouteAction(
            cluster=cluster,
            timeout=timedelta(0),
            retry_policy=RetryPolicy(per_try_timeout=timedelta(milliseconds=limit), num_retries=0),
        )
        name, headers = f"{cluster}.{mode}", [_is(TARGET_HEADER, cluster), _is(MODE_HEADER, mode)]
        shown = {}
        if worker is not None:
            name, headers = f"{name}.{worker}", [*headers, _is(WORKER_HEADER, str(worker))]
            shown = {EXT_PROC: Any.pack(processors.of_attempts_at(worker))}
        match = RouteMatch(prefix="/", headers=headers)
        yield Route(name=name, match=match, route=action, typed_per_filter_config=shown)


def _no_foreign_headers() -> Mutations:
    """HTTP allows headers that gRPC does not take; it answers such a call as our failure."""
    foreign = StringMatcher(safe_regex=RegexMatcher(regex=FOREIGN_HEADER))
    return Mutations(
        request_mutations=[Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=foreign))]
    )


def _management_action(*, streamed: bool) -> RouteAction:
    """An answer within 30 s; one that is streamed goes on as long as its reader takes something now and then."""
    if streamed:
        return RouteAction(
            cluster=MANAGEMENT_CLUSTER, timeout=timedelta(0), idle_timeout=timedelta(seconds=_STREAM_IDLE_S)
        )
    return RouteAction(cluster=MANAGEMENT_CLUSTER, timeout=timedelta(seconds=30))


def _path(method: str, path: str | None, regex: str) -> RouteMatch:
    """Paths one by one: joined into one expression they exceed Envoy's limit on its size."""
    headers = [_is(":method", method)]
    if path is not None:
        return RouteMatch(path=path, headers=headers)
    return RouteMatch(safe_regex=RegexMatcher(regex=regex), headers=headers)


def _is(name: str, value: str) -> HeaderMatcher:
    return HeaderMatcher(name=name, string_match=StringMatcher(exact=value))
