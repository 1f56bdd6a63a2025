"""Pictures that a request gives by URL, for adapters whose provider takes bytes only: which, and how they get in.

They are fetched elsewhere (``media``), between ``images_by_url`` and ``with_bytes``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import Content, Conversation, Image, Turn, UserTurn, read_conversation
from sovereign_ext.openai.request import Request


def images_by_url(request: Request) -> tuple[Image, ...]:
    """The pictures of a chat request that are given by URL; none of a request that will be refused anyway."""
    messages = request.members.get("messages")
    if messages is None or b"image_url" not in bytes(messages):
        return ()
    try:
        conversation = read_conversation(request.values)
    except CallerError:
        return ()
    users = [turn for turn in conversation.turns if isinstance(turn, UserTurn)]
    contents = [content for turn in users for content in (*(r.content for r in turn.results), turn.content)]
    parts = [part for content in contents for part in content]
    return tuple(part for part in parts if isinstance(part, Image) and part.url)


def with_bytes(conversation: Conversation, media: Mapping[str, bytes]) -> Conversation:
    """The conversation with the pictures in ``media``, by URL, as data; others stay URLs."""
    if not media:
        return conversation
    data = {url: base64.b64encode(body).decode("ascii") for url, body in media.items()}
    return replace(conversation, turns=tuple(_turn(turn, data) for turn in conversation.turns))


def _turn(turn: Turn, data: Mapping[str, str]) -> Turn:
    if not isinstance(turn, UserTurn):
        return turn
    results = tuple(replace(result, content=_filled(result.content, data)) for result in turn.results)
    return UserTurn(results, _filled(turn.content, data))


def _filled(content: tuple[Content, ...], data: Mapping[str, str]) -> tuple[Content, ...]:
    return tuple(
        replace(part, data=data[part.url], url="") if isinstance(part, Image) and part.url in data else part
        for part in content
    )
