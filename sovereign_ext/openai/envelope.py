"""OpenAI's error envelope and the headers that go with it.

Source: the error object that openai-python and openai-node parse (``error.message/type/param/code``), their
retry rule (408, 409, 429, >= 500, overridden by ``x-should-retry``) and RFC 9110 section 10.2.3
(Retry-After).
"""

from __future__ import annotations

import math

import msgspec

from sovereign_ext.errors import ApiError

JSON_TYPE = "application/json"


def error_object(error: ApiError) -> bytes:
    """``{"error": {...}}`` as JSON bytes, the body of a response or the data of a stream's error event."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def error_headers(error: ApiError) -> list[tuple[str, str]]:
    """Headers of an error response: content type, whether waiting may help, and for how long.

    In whole seconds as HTTP has it, and in milliseconds, which both SDKs prefer where it is there.
    """
    headers = [("content-type", JSON_TYPE), ("x-should-retry", "true" if error.retry else "false")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
        headers.append(("retry-after-ms", str(max(1, math.ceil(error.retry_after_s * 1000)))))
    return headers
