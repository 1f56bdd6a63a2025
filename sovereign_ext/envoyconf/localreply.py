"""What Envoy answers by itself, in OpenAI's error shape and without internal detail.

Our own immediate responses pass here too; their response code details start with ``DETAILS_PREFIX`` and are
left as they are.
"""

from __future__ import annotations

from typing import Any as Json

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Any, Struct

from sovereign_ext.envoyconf.headers import overwrite
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import DETAILS_PREFIX, METADATA, WALK_HEADER

_FOREIGN = (
    f'response.code >= 400 && response.code_details != "direct_response" && '
    f'!response.code_details.startsWith("{DETAILS_PREFIX}")'
)
"""A failure that Envoy answers: not our own answer, not a page in the route table of whoever runs this Envoy."""
_PROVIDER = f'{_FOREIGN} && !response.code_details.startsWith("ext_proc")'
"""Neither our own answer nor the processor's failure: on the internal hop that is the provider's doing."""


def egress(layout: Layout) -> LocalReplyConfig:
    """The internal hop's: whatever Envoy answers for a provider means that the next one is to be tried.

    Most such answers pass through the processor, which judges them itself. One that breaks off while the
    processor still holds its headers does not; the processor sees its stream end instead.
    """
    walk = ResponseMapper(filter=_cel(_PROVIDER), headers_to_add=[overwrite(WALK_HEADER, "1")])
    return LocalReplyConfig(mappers=[walk, *config(layout).mappers])


def config(layout: Layout) -> LocalReplyConfig:
    """Mappers from the most to the least specific; the last one takes every status that is left."""
    invalid, server = "invalid_request_error", "server_error"
    limit = layout.max_request_bytes
    return LocalReplyConfig(
        mappers=[
            _mapper(
                413, f"The request body exceeds the limit of {limit} bytes.", invalid, "request_too_large"
            ),
            _mapper(431, "The request headers are too large.", invalid, "headers_too_large"),
            _mapper(408, "The request did not arrive in time.", invalid, "request_timeout"),
            _mapper(403, "Upgrades of the connection are not supported.", invalid, "bad_request"),
            _mapper(400, "The request is not valid.", invalid, "bad_request"),
            # 426: HTTP/0.9 and unknown versions; 501: a transfer coding that is not chunked
            _mapper(426, "This version of HTTP is not supported.", invalid, "bad_request"),
            _mapper(501, "The request's transfer coding is not supported.", invalid, "bad_request"),
            _mapper(504, "The gateway did not answer in time.", server, "gateway_timeout"),
            _mapper(None, "The gateway could not process the call.", server, "gateway_unavailable"),
        ]
    )


def _mapper(status: int | None, message: str, kind: str, code: str) -> ResponseMapper:
    error: dict[str, Json] = {"message": message, "type": kind, "param": None, "code": code}
    retry = "false" if kind == "invalid_request_error" else "true"
    return ResponseMapper(
        filter=_filter(status),
        body_format_override=SubstitutionFormatString(
            json_format=Struct.from_dict({"error": error}), content_type="application/json"
        ),
        headers_to_add=[
            overwrite("x-should-retry", retry),
            overwrite("x-sf-decision-id", f"%DYNAMIC_METADATA({METADATA}:decision_id)%"),
            # What is not valid HTTP never got a request id. Where there is one, Envoy puts it in afterwards.
            overwrite("x-request-id", "%UNIQUE_ID%"),
        ],
    )


def _filter(status: int | None) -> AccessLogFilter:
    foreign = _cel(_FOREIGN)
    if status is None:
        return foreign
    equal = ComparisonFilter(
        op=ComparisonFilterOp.EQ,
        value=RuntimeUInt32(default_value=status, runtime_key=f"sovereign.reply.{status}"),
    )
    return AccessLogFilter(
        and_filter=AndFilter(
            filters=[AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=equal)), foreign]
        )
    )


def _cel(expression: str) -> AccessLogFilter:
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=Any.pack(ExpressionFilter(expression=expression)),
        )
    )
