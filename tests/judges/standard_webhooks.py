"""The reference implementation of Standard Webhooks verifies events.

Run in the judges' environment; asked and answered as ``answering`` says.
"""

from __future__ import annotations

from typing import Any

from answering import answer
from standardwebhooks import Webhook


def verify(secret: str, headers: dict[str, str], body: str) -> Any:
    return Webhook(secret).verify(body, headers)


answer({"verify": verify})
