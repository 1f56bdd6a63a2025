"""boto3 as the other party: sets up AWS services for a test by AWS's own client, and says what they answer.

Run in the judges' environment with the endpoint as its argument. Reads one JSON object per line, ``{"service",
"operation", "parameters", "keys"?}``, and answers each with one: ``{"answer": …}`` or ``{"failed": CODE}``.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = "eu-central-1"
_ROOT = ["AKIAIOSFODNN7EXAMPLE", "root-secret", None]


def call(
    endpoint: str,
    *,
    service: str,
    operation: str,
    parameters: dict[str, Any],
    keys: list[str | None] | None = None,
) -> Any:
    """What one operation answers, without its metadata."""
    key_id, secret, token = keys or _ROOT
    client = boto3.client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 0}),
    )
    answer = getattr(client, operation)(**parameters)
    answer.pop("ResponseMetadata", None)
    return answer


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def main() -> None:
    for line in sys.stdin:
        try:
            told = {"answer": call(sys.argv[1], **json.loads(line))}
        except ClientError as error:
            told = {"failed": error.response["Error"]["Code"]}
        print(json.dumps(told, default=_plain), flush=True)


if __name__ == "__main__":
    main()
