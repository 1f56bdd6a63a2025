"""Asking the database from the event loop: on a thread, and 503 when it cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import ServiceError

T = TypeVar("T")


async def ask(question: Callable[[], T]) -> T:
    """What ``question`` gives. Raises ``ServiceError`` 503 ``storage_unavailable`` for the database's errors."""
    try:
        return await asyncio.to_thread(question)
    except SQLAlchemyError as error:
        text = "the database cannot answer right now"
        raise ServiceError(503, text, code="storage_unavailable", retry_after_s=1) from error
