"""OpenAI's request as Ollama's native API takes it: the bodies of ``/api/chat`` and ``/api/embed``.

Sources: Ollama API documentation and its Python SDK's types (0.6). What becomes of each parameter is ``SUPPORT``.
Ollama cannot be told to call a tool: ``tool_choice`` that asks for one is refused, ``none`` leaves the tools out. It
takes images as bytes only, and neither sound nor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import (
    AssistantTurn,
    Content,
    Conversation,
    Image,
    Text,
    ToolCall,
    UserTurn,
    invalid,
    unsupported,
)
from sovereign_ext.openai.parameters import Chat, Choice, ResponseFormat, Tool, read_chat
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._images import with_bytes
from sovereign_ext.providers._media import media_type
from sovereign_ext.providers._vectors import dimensions_of, texts_of
from sovereign_ext.providers.support import Support, Treatment, review, support

SUPPORT: Final[Support] = support(
    n=Treatment.REFUSED,
    seed=Treatment.MAPPED,
    logprobs=Treatment.MAPPED,
    top_logprobs=Treatment.MAPPED,
    logit_bias=Treatment.REFUSED,
    presence_penalty=Treatment.MAPPED,
    frequency_penalty=Treatment.MAPPED,
    response_format=Treatment.MAPPED,
    parallel_tool_calls=Treatment.DROPPED,
    reasoning_effort=Treatment.APPROXIMATED,
    service_tier=Treatment.DROPPED,
)

_THINK: Final[dict[str, bool | str]] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp"})


def chat_body(
    request: Request, upstream_model: str, media: Mapping[str, bytes]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of ``/api/chat``, and the parameters that were dropped. Raises ``CallerError``.

    ``media`` is what was fetched by URL.
    """
    dropped = review(request, SUPPORT)
    chat = read_chat(request)
    tools = _tools(chat)
    body: dict[str, Any] = {
        "model": upstream_model,
        "messages": list(_messages(with_bytes(chat.conversation, media))),
        "stream": chat.stream,
    }
    parts = {
        "options": _options(chat),
        "tools": [_tool(tool) for tool in tools],
        "format": _format(chat.format),
    }
    body |= {name: part for name, part in parts.items() if part}
    if chat.effort is not None:
        body["think"] = _THINK[chat.effort]
    body |= _logprobs(chat)
    return body, dropped + ("tools.strict",) * any(tool.strict for tool in tools)


def embed_body(request: Request, upstream_model: str) -> dict[str, Any]:
    """The body of ``/api/embed``. Raises ``CallerError``."""
    body: dict[str, Any] = {"model": upstream_model, "input": texts_of(request)}
    dimensions = dimensions_of(request)
    return body if dimensions is None else body | {"dimensions": dimensions}


def _options(chat: Chat) -> dict[str, Any]:
    options = {
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "presence_penalty": chat.presence_penalty,
        "frequency_penalty": chat.frequency_penalty,
        "seed": chat.seed,
        "num_predict": chat.max_tokens,
        "stop": list(chat.stop) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _logprobs(chat: Chat) -> dict[str, Any]:
    if not chat.logprobs:
        if chat.top_logprobs:
            raise invalid("top_logprobs", "logprobs to be true beside it")
        return {}
    return {"logprobs": True} | ({"top_logprobs": chat.top_logprobs} if chat.top_logprobs else {})


def _tools(chat: Chat) -> tuple[Tool, ...]:
    if chat.choice in (Choice.REQUIRED, Choice.NAMED):
        raise unsupported("function_call" if chat.values.get("tool_choice") is None else "tool_choice")
    return () if chat.choice is Choice.NONE else chat.tools


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": tool.parameters}}


def _format(wanted: ResponseFormat | None) -> Any:
    return None if wanted is None else wanted.schema or "json"


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    if conversation.system:
        yield {"role": "system", "content": _joined(conversation.system, "\n\n")}
    for turn in conversation.turns:
        if isinstance(turn, UserTurn):
            for result in turn.results:
                yield _message("tool", result.content) | {"tool_name": result.name}
            if turn.content:
                yield _message("user", turn.content)
        else:
            yield _assistant(turn)


def _assistant(turn: AssistantTurn) -> dict[str, Any]:
    message = _message("assistant", turn.content)
    return message | {"tool_calls": [_call(call) for call in turn.calls]} if turn.calls else message


def _call(call: ToolCall) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": call.arguments}}


def _message(role: str, content: tuple[Content, ...]) -> dict[str, Any]:
    images = []
    for part in content:
        if isinstance(part, Image):
            images.append(_image(part))
        elif not isinstance(part, Text):
            raise unsupported(part.param)
    message: dict[str, Any] = {"role": role, "content": _joined(content, "\n")}
    return message | {"images": images} if images else message


def _joined(content: Iterable[Content], separator: str) -> str:
    return separator.join(part.text for part in content if isinstance(part, Text))


def _image(image: Image) -> str:
    """Bare base64."""
    if image.url:
        raise CallerError(
            400, "This model's provider takes images as data URLs only.",
            param=image.param, code="unsupported_value",
        )  # fmt: skip
    if media_type(image.data, image.media_type) not in _IMAGES:
        raise invalid(image.param, "a PNG, JPEG or WebP image")
    return image.data
