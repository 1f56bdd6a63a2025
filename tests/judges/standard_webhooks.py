"""The reference implementation of Standard Webhooks verifies events.

Run in the judges' environment. Reads one JSON object per line, with secret, headers and body, and answers each with
one, as ``aws.py`` does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from standardwebhooks import Webhook


def answer(secret: str, headers: dict[str, str], body: str) -> Any:
    return Webhook(secret).verify(body, headers)


for line in sys.stdin:
    question = json.loads(line)
    question.pop("ask")
    try:
        reply = {"answer": answer(**question)}
    except Exception as error:
        reply = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
