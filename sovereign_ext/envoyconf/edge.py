"""What makes a listener fit for clients that nobody here has written: limits, timeouts, paths, the access log.

After Envoy's own advice for edge proxies. Two items of it are deliberately not followed, since long streams are what
this is for: buffers of 32 KiB (``listeners`` says how much an answer may be held), and a time limit on streams (the
processor has those, provider by provider).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any as Json
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from envoy_data_plane.envoy.config.core.v3 import (
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    KeepaliveSettings,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from sovereign_ext.envoyconf import headers
from sovereign_ext.envoyconf.layout import Edge, Layout
from sovereign_ext.envoyconf.names import METADATA

HEALTH_PATH: Final = "/healthz"
_STREAM_WINDOW: Final = 64 * 1024
_CONNECTION_WINDOW: Final = 1024 * 1024
_ALT_SVC_S: Final = 86_400

LOGGED: Final = {
    "time": "%START_TIME%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "workload": "%DOWNSTREAM_PEER_URI_SAN%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "decision_id": f"%DYNAMIC_METADATA({METADATA}:decision_id)%",
}
"""One JSON object for each call. No header in which a key may stand, no query, nothing of a body."""


def manager(layout: Layout, edge: Edge) -> dict[str, Json]:
    """Options of the HTTP connection manager, beyond those that every listener has."""
    limits = layout.ingress.limits
    return {
        "access_log": [_access_log(edge)],
        "xff_num_trusted_hops": layout.ingress.trusted_hops,
        "merge_slashes": True,
        # A model's name may have an escaped slash: /v1/models/org%2Fname. The processor reads it, no file system does.
        "path_with_escaped_slashes_action": HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        "max_request_headers_kb": limits.header_kib,
        "stream_flush_timeout": timedelta(seconds=300),
        "common_http_protocol_options": HttpProtocolOptions(
            idle_timeout=timedelta(seconds=3600),
            max_headers_count=limits.headers,
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        "http2_protocol_options": Http2ProtocolOptions(
            max_concurrent_streams=limits.streams_per_connection,
            initial_stream_window_size=_STREAM_WINDOW,
            initial_connection_window_size=_CONNECTION_WINDOW,
            connection_keepalive=KeepaliveSettings(
                interval=timedelta(seconds=60), timeout=timedelta(seconds=20)
            ),
        ),
    }


def filters(layout: Layout, edge: Edge) -> list[HttpFilter]:
    """What stands before the filters that every listener has."""
    found = [_health()]
    if edge.workload is not None:
        known = f"URI={edge.workload}"
        found.append(headers.on_requests("sovereign.workload", "x-forwarded-client-cert", known))
    if layout.ingress.http3:
        port = edge.public_port or layout.listen_port
        offer = f'h3=":{port}"; ma={_ALT_SVC_S}'
        found.append(headers.on_responses("sovereign.alt_svc", "alt-svc", offer))
    return found


def _health() -> HttpFilter:
    """Answers a balancer's probe: 200, and 503 from when a drain begins."""
    probe = HealthCheck(
        pass_through_mode=False,
        headers=[HeaderMatcher(name=":path", string_match=StringMatcher(exact=HEALTH_PATH))],
    )
    return HttpFilter(name="envoy.filters.http.health_check", typed_config=Any.pack(probe))


def _access_log(edge: Edge) -> AccessLog:
    """One line a call. Probes, which come every few seconds, are left out: ``_health`` marks all that it answers."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(dict(LOGGED)), omit_empty_values=True)
    calls = AccessLogFilter(not_health_check_filter=NotHealthCheckFilter())
    if edge.access_log is None:
        typed = Any.pack(StdoutAccessLog(log_format=line))
        return AccessLog(name="envoy.access_loggers.stdout", filter=calls, typed_config=typed)
    typed = Any.pack(FileAccessLog(path=edge.access_log, log_format=line))
    return AccessLog(name="envoy.access_loggers.file", filter=calls, typed_config=typed)
