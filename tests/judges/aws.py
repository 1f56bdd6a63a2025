"""AWS's own libraries as judges: botocore's signer, validator and event-stream reader, and boto3 as a client.

Run in the judges' environment; asked and answered as ``answering`` says.
"""

from __future__ import annotations

import base64
import datetime
from typing import Any
from unittest import mock

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.eventstream
import botocore.session
import botocore.validate
from answering import answer

_SHAPES = botocore.session.get_session().get_service_model("bedrock-runtime")


def signature(
    *,
    method: str,
    url: str,
    headers: list[list[str]],
    body: str,
    keys: list[str | None],
    region: str,
    service: str,
    now_s: float,
) -> dict[str, str]:
    """The headers that botocore adds; ``body`` in base64, ``headers`` only those to be signed."""
    request = botocore.awsrequest.AWSRequest(method=method, url=url, data=base64.b64decode(body))
    for name, value in headers:
        request.headers.add_header(name, value)
    at = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*keys), service, region)
    with mock.patch("botocore.auth.get_current_datetime", return_value=at):
        signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def valid(*, operation: str, parameters: dict[str, Any]) -> str:
    """What ``ParamValidator`` has against the parameters of an operation; empty if nothing."""
    shape = _SHAPES.operation_model(operation).input_shape
    return botocore.validate.ParamValidator().validate(_blobs(parameters, shape), shape).generate_report()


def _blobs(value: Any, shape: Any) -> Any:
    """Parameters as boto3 takes them: blobs are bytes there and base64 on the wire."""
    if shape.type_name == "blob" and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if shape.type_name == "structure" and isinstance(value, dict) and not shape.is_document_type:
        return {
            key: _blobs(one, shape.members[key]) if key in shape.members else one
            for key, one in value.items()
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [_blobs(one, shape.member) for one in value]
    return value


def frames(*, data: str) -> dict[str, Any]:
    """The frames in the bytes (base64) that botocore's buffer reads, and why it stopped early, if it did."""
    buffer = botocore.eventstream.EventStreamBuffer()
    buffer.add_data(base64.b64decode(data))
    found: list[dict[str, Any]] = []
    try:
        for frame in buffer:
            found.append({"headers": frame.headers, "payload": base64.b64encode(frame.payload).decode()})
    except Exception as error:  # its parsers raise whatever reading past the end raises
        return {"frames": found, "broken": type(error).__name__}
    return {"frames": found, "broken": None}


def converse(*, url: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What boto3 makes of the answer of a server at ``url``, to the parameters of Converse as they are on the wire."""
    shape = _SHAPES.operation_model("Converse").input_shape
    return _client(url).converse(**_blobs(parameters, shape))


def converse_stream(*, url: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that boto3 makes of a stream."""
    shape = _SHAPES.operation_model("ConverseStream").input_shape
    return list(_client(url).converse_stream(**_blobs(parameters, shape))["stream"])


def _client(url: str) -> Any:
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="secret",
        config=config,
    )


answer(
    {
        "signature": signature,
        "valid": valid,
        "frames": frames,
        "converse": converse,
        "converse_stream": converse_stream,
    }
)
