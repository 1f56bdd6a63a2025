"""An answer told piece by piece, written as OpenAI's chunks or gathered into OpenAI's completion.

Adapters of other wires tell both kinds of answer in the same words (``text``, ``call``, ``arguments``, ``finish`` …),
so that a streamed answer adds up to the whole one. What is decided here, once for all of them:

- the first chunk carries the role, every call its own index, and a call without arguments gets ``{}``;
- where a forced tool imitates structured output (``imitated``), its arguments are the content, and the end is ``stop``;
- a request that used ``functions`` is answered with ``function_call``; it has room for one call only;
- halves of emoji (lone surrogates), which providers leave where they cut text, are put together or left out.

One ``Reply`` is one choice. Where there are several (``n``), each has its own: streams share ``id`` and ``created``,
end each with ``end`` and all together with ``complete``; bodies give their ``choice`` to ``completion``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from sovereign_ext.openai.chunks import ChunkWriter, logprobs_object, usage_object
from sovereign_ext.openai.encode import encode
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.base import Answer, Item, Part, Usage

IMITATED: Final = "sovereign_json_response"
"""The tool that a model is made to call where its provider has no structured output."""

JSON_ONLY: Final = "Answer with one JSON object and nothing else: no words around it, no Markdown."
"""The instruction that stands for ``json_object`` where there is nothing better."""


class Reply(Protocol):
    """Takes an answer in. Each method gives the chunks that come of it, none where the answer is gathered."""

    def text(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> Iterator[Item]:
        """More of what the assistant says, with OpenAI's ``logprobs.content`` of it, if that was asked for."""

    def reasoning(self, text: str) -> Iterator[Item]:
        """More of what it thinks: the extension ``reasoning_content``."""

    def extra_content(self, content: Mapping[str, Any]) -> Iterator[Item]:
        """``extra_content`` of the message: what the provider wants back on the next turn."""

    def call(self, id: str, name: str, extra: Mapping[str, Any] | None = None) -> Iterator[Item]:  # noqa: A002
        """The beginning of a tool call; its ``arguments`` follow."""

    def arguments(self, fragment: str) -> Iterator[Item]:
        """More of the last call's arguments, JSON text."""

    def finish(self, reason: str, usage: Usage) -> Iterator[Item]:
        """The end, with OpenAI's finish reason."""


class ReplyStream:
    """A ``Reply`` that writes chunks. ``created`` is Unix seconds; ``id`` must be known when the first chunk is."""

    def __init__(
        self,
        request: Request,
        id: str,  # noqa: A002
        created: int,
        imitated: str | None = None,
        *,
        legacy: bool = False,
        choice: int = 0,
    ) -> None:
        self._writer = ChunkWriter(
            id, created, request.model, include_usage=request.include_usage, choice=choice
        )
        self._include_usage = request.include_usage
        self._imitated = imitated
        self._legacy = legacy
        self._started = False
        self._calls = 0
        self._open = False  # a call whose arguments have not begun
        self._imitating = False  # the call at hand is content
        self._half = "", ""  # of an emoji, and what it is part of

    def begin(self) -> Iterator[Item]:
        """The chunk with the role, once; the others begin by themselves."""
        if not self._started:
            self._started = True
            yield Item(Part.LIFECYCLE, self._writer.role())

    def text(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> Iterator[Item]:
        yield from self.begin()
        text = self._whole("text", text)
        if text or logprobs:
            yield Item(Part.CONTENT, self._writer.content(text, logprobs))

    def reasoning(self, text: str) -> Iterator[Item]:
        yield from self.begin()
        text = self._whole("reasoning", text)
        if text:
            yield Item(Part.CONTENT, self._writer.reasoning(text))

    def extra_content(self, content: Mapping[str, Any]) -> Iterator[Item]:
        yield from self.begin()
        yield Item(Part.CONTENT, self._writer.extra_content(content))

    def call(self, id: str, name: str, extra: Mapping[str, Any] | None = None) -> Iterator[Item]:  # noqa: A002
        yield from self.begin()
        yield from self._close_call()
        self._imitating = name == self._imitated
        if self._imitating:
            return
        self._open = True
        self._calls += 1
        if self._legacy:
            if self._calls == 1:
                yield Item(Part.CONTENT, self._writer.function_call(name))
        else:
            yield Item(Part.CONTENT, self._writer.tool_call(self._calls - 1, id, name, extra))

    def arguments(self, fragment: str) -> Iterator[Item]:
        fragment = self._whole("arguments", fragment)
        if not fragment:
            return
        if self._imitating:
            yield Item(Part.CONTENT, self._writer.content(fragment))
            return
        self._open = False
        if not self._legacy:
            yield Item(Part.CONTENT, self._writer.tool_arguments(self._calls - 1, fragment))
        elif self._calls == 1:
            yield Item(Part.CONTENT, self._writer.function_arguments(fragment))

    def finish(self, reason: str, usage: Usage) -> Iterator[Item]:
        yield from self.end(reason)
        yield from self.complete(usage)

    def end(self, reason: str) -> Iterator[Item]:
        """The end of this choice; others may go on."""
        yield from self.begin()
        yield from self._close_call()
        yield Item(Part.FINISH, self._writer.finish(_reason(reason, self._calls, legacy=self._legacy)))

    def complete(self, usage: Usage) -> Iterator[Item]:
        """The end of the stream, after that of its choices. Told to one of them only."""
        if self._include_usage:
            yield Item(Part.USAGE, self._writer.usage(usage_of(usage)))
        yield Item(Part.DONE)

    def _close_call(self) -> Iterator[Item]:
        if self._open:
            yield from self.arguments("{}")
        self._open = self._imitating = False
        self._half = "", ""

    def _whole(self, kind: str, text: str) -> str:
        """``text`` with the half before it, without the half at its end, which waits."""
        if text.isascii() and not self._half[0]:
            return text
        half, of = self._half
        text = half + text if of == kind else text
        self._half = "", ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._half, text = (text[-1], kind), text[:-1]
        return mended(text)


class ReplyBody:
    """A ``Reply`` that gathers a completion."""

    def __init__(self, request: Request, imitated: str | None = None, *, legacy: bool = False) -> None:
        self._request = request
        self._imitated = imitated
        self._legacy = legacy
        self._text: list[str] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._reasoning: list[str] = []
        self._extra: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []
        self._imitating = False
        self._end: tuple[str, Usage] = ("stop", Usage())

    def text(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> Iterator[Item]:
        self._text.append(text)
        self._logprobs += logprobs
        return iter(())

    def reasoning(self, text: str) -> Iterator[Item]:
        self._reasoning.append(text)
        return iter(())

    def extra_content(self, content: Mapping[str, Any]) -> Iterator[Item]:
        self._extra |= content
        return iter(())

    def call(self, id: str, name: str, extra: Mapping[str, Any] | None = None) -> Iterator[Item]:  # noqa: A002
        self._imitating = name == self._imitated
        if not self._imitating:
            call: dict[str, Any] = {"id": id, "type": "function", "function": {"name": name}}
            if extra:
                call["extra_content"] = extra
            self._calls.append(call)
            self._arguments.append([])
        return iter(())

    def arguments(self, fragment: str) -> Iterator[Item]:
        (self._text if self._imitating else self._arguments[-1]).append(fragment)
        return iter(())

    def finish(self, reason: str, usage: Usage) -> Iterator[Item]:
        self._end = reason, usage
        return iter(())

    def answer(self, id: str, created: int) -> Answer:  # noqa: A002
        """The whole completion; ``created`` is Unix seconds."""
        return completion(self._request, id, created, [self.choice()], self._end[1])

    def choice(self, index: int = 0) -> dict[str, Any]:
        """What was told, as the completion's choice of that index. To be called once."""
        for call, fragments in zip(self._calls, self._arguments, strict=True):
            call["function"]["arguments"] = mended("".join(fragments)) or "{}"
        text = mended("".join(self._text))
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or (None if self._calls else ""),
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = mended("".join(self._reasoning))
        if self._calls and self._legacy:
            message["function_call"] = self._calls[0]["function"]
        elif self._calls:
            message["tool_calls"] = self._calls
        if self._extra:
            message["extra_content"] = self._extra
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs_object(self._logprobs),
            "finish_reason": _reason(self._end[0], len(self._calls), legacy=self._legacy),
        }


def completion(
    request: Request,
    id: str,  # noqa: A002
    created: int,
    choices: Sequence[Mapping[str, Any]],
    usage: Usage,
) -> Answer:
    """A whole completion of these ``ReplyBody.choice``; ``created`` is Unix seconds."""
    body = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": choices,
        "usage": usage_of(usage),
    }
    return Answer(encode(body), usage)


def mended(text: str) -> str:
    """``text`` with halves of emoji that follow each other made whole, and halves alone left out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def usage_of(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return usage_object(
        usage.prompt_tokens or 0,
        usage.completion_tokens or 0,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _reason(reason: str, calls: int, *, legacy: bool) -> str:
    """``tool_calls`` only where the client was given some."""
    if reason == "tool_calls" and not calls:
        return "stop"
    return "function_call" if legacy and reason == "tool_calls" else reason
