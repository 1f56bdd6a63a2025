"""What Gemini answers, told to ``Reply``: one ``GenerateContentResponse``, whole or a piece of a stream.

Both go through the same code, so that a stream adds up to the whole answer. Source: Vertex AI's REST reference of
``GenerateContentResponse``, google-genai 3.4. Deliberately without a place in OpenAI's shape, and left out: citations,
grounding, safety ratings, generated images.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from sovereign_ext.errors import ServiceError
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import Reply
from sovereign_ext.providers.base import Fault, Item, StreamFault, Usage

FINISH: Final[Mapping[str, str]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
}
"""Google's ends in OpenAI's words. Every other (``MALFORMED_FUNCTION_CALL``, ``OTHER`` …) is no end but a failure."""

_MAX_ID: Final = 200  # characters of a provider's id that are passed on
_COUNTS: Final = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")

Told = TypeVar("Told", bound=Reply)


@dataclass
class _Choice(Generic[Told]):
    index: int
    reply: Told
    finish: str = ""  # OpenAI's word, once it is over
    ids: set[str] = field(default_factory=set)  # of its calls

    @property
    def reason(self) -> str:
        """Google stops; OpenAI stops for its calls, wherever they came."""
        return "tool_calls" if self.finish == "stop" and self.ids else self.finish


class Telling(Generic[Told]):
    """Tells the candidates of one answer, each to a ``Reply`` of its own that ``make`` gives for its index.

    ``expected`` is how many choices were asked for; a candidate beyond them is no answer. ``usage`` is what was
    said last. ``call_id`` is unique to the call: ids of tool calls are derived from it where Google gives none.
    """

    def __init__(self, make: Callable[[int], Told], call_id: str, expected: int, *, logprobs: bool) -> None:
        self._make = make
        self._call_id = call_id
        self._expected = expected
        self._logprobs = logprobs
        self._choices: list[_Choice[Told]] = []
        self.usage = Usage()

    @property
    def finished(self) -> bool:
        """Whether there was an answer, and every candidate has its end, also one that others came before."""
        return bool(self._choices) and all(choice.finish for choice in self._choices)

    def ends(self) -> list[tuple[int, Told, str]]:
        """Index, ``Reply`` and finish reason of every candidate, in their order."""
        return [(choice.index, choice.reply, choice.reason) for choice in self._choices]

    def count(self, response: Mapping[str, Any]) -> None:
        """Take the token counts of one response, if it has any: they are those of the whole answer so far."""
        counted = response.get("usageMetadata")
        if isinstance(counted, dict) and any(name in counted for name in _COUNTS):
            self.usage = usage_of(counted)

    def take(self, response: Mapping[str, Any]) -> Iterator[Item]:
        """Tell one response. Raises ``StreamFault`` if it is none."""
        candidates = response.get("candidates")
        if candidates is not None and not isinstance(candidates, list):
            raise StreamFault(_shared.unusable("invalid_answer"))
        for candidate in candidates or ():
            if not isinstance(candidate, dict):
                raise StreamFault(_shared.unusable("invalid_answer"))
            yield from self._candidate(candidate)
        feedback = response.get("promptFeedback")
        if not self._choices and isinstance(feedback, dict) and feedback.get("blockReason"):
            yield from self._open(0)
            self._choices[0].finish = "content_filter"  # the prompt itself was refused: nothing else comes

    def _candidate(self, candidate: Mapping[str, Any]) -> Iterator[Item]:
        index = candidate.get("index", 0)
        yield from self._open(index)
        choice = self._choices[index]
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        logprobs = _logprobs(candidate.get("logprobsResult")) if self._logprobs else []
        for part in parts if isinstance(parts, list) else ():
            if not isinstance(part, dict):
                raise StreamFault(_shared.unusable("invalid_answer"))
            said = isinstance(part.get("text"), str) and not part.get("thought")
            yield from self._part(choice, part, logprobs if said else [])
            logprobs = [] if said else logprobs
        finish = candidate.get("finishReason")
        if finish is not None and finish != "FINISH_REASON_UNSPECIFIED":
            choice.finish = _finish(finish)

    def _part(
        self, choice: _Choice[Told], part: Mapping[str, Any], logprobs: list[dict[str, Any]]
    ) -> Iterator[Item]:
        text, call = part.get("text"), part.get("functionCall")
        signature = part.get("thoughtSignature")
        extra = (
            {"google": {"thought_signature": signature}} if isinstance(signature, str) and signature else None
        )
        if isinstance(call, dict):
            yield from self._call(choice, call, extra)
        elif isinstance(text, str) and part.get("thought"):
            yield from choice.reply.reasoning(text)
        elif isinstance(text, str):
            yield from choice.reply.text(text, logprobs)
            if extra:
                yield from choice.reply.extra_content(extra)

    def _call(
        self, choice: _Choice[Told], call: Mapping[str, Any], extra: Mapping[str, Any] | None
    ) -> Iterator[Item]:
        name, args, id_ = call.get("name"), call.get("args"), call.get("id")
        if not isinstance(name, str) or not name or not isinstance(args, dict | None):
            raise StreamFault(_shared.unusable("invalid_answer"))
        if not isinstance(id_, str) or not 0 < len(id_) <= _MAX_ID or id_ in choice.ids:
            # Without ids, or with one twice, parallel calls of the same function could not be told apart.
            seed = f"{self._call_id}/{choice.index}/{len(choice.ids)}"
            id_ = f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"
        choice.ids.add(id_)
        yield from choice.reply.call(id_, name, extra)
        yield from choice.reply.arguments(msgspec.json.encode(args or {}).decode())

    def _open(self, index: Any) -> Iterator[Item]:
        """Begin the choice, after those before it: openai-python stumbles over a stream in another order."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < self._expected:
            raise StreamFault(_shared.unusable("invalid_answer"))
        for at in range(len(self._choices), index + 1):
            self._choices.append(_Choice(at, self._make(at)))
            yield from self._choices[at].reply.text("")


def _finish(reason: Any) -> str:
    """OpenAI's word. Raises ``StreamFault`` for an end that is none."""
    word = FINISH.get(reason) if isinstance(reason, str) else None
    if word is None:
        raise StreamFault(_shared.unusable("malformed_answer", "The model's answer was malformed."))
    return word


def usage_of(counted: Mapping[str, Any]) -> Usage:
    """``usageMetadata``: what tools put into the prompt and what was thought count, the rest are parts of them."""
    prompt = (_shared.count(counted.get("promptTokenCount")) or 0) + (
        _shared.count(counted.get("toolUsePromptTokenCount")) or 0
    )
    thoughts = _shared.count(counted.get("thoughtsTokenCount"))
    completion = (_shared.count(counted.get("candidatesTokenCount")) or 0) + (thoughts or 0)
    cached = _shared.count(counted.get("cachedContentTokenCount"))
    return Usage(
        prompt,
        completion,
        cached_tokens=cached if cached is not None and cached <= prompt else None,
        reasoning_tokens=thoughts,
    )


def response_id(response: Mapping[str, Any], call_id: str) -> str:
    """The answer's id: Google's, or one made of the call's."""
    given = response.get("responseId")
    return given if isinstance(given, str) and 0 < len(given) <= _MAX_ID else f"chatcmpl-{call_id}"


def error_fault(error: Any) -> Fault:
    """An ``error`` inside a 200. Its code tells what kind; nothing else of it is passed on."""
    fields = error if isinstance(error, dict) else {}
    words = (fields.get("code"), fields.get("status"))
    if 429 in words or "RESOURCE_EXHAUSTED" in words:
        told = _shared.provider_error(429, None)
    elif 503 in words or "UNAVAILABLE" in words:
        told = _shared.provider_error(503, None)
    else:
        told = ServiceError(502, "The provider failed while answering.", code="provider_error")
    return Fault("error_event", walk=True, error=told)


def _logprobs(result: Any) -> list[dict[str, Any]]:
    """``logprobsResult`` as OpenAI's ``logprobs.content``."""
    if not isinstance(result, dict):
        return []
    chosen, top = result.get("chosenCandidates"), result.get("topCandidates")
    if not isinstance(chosen, list):
        return []
    others = top if isinstance(top, list) else []
    found = []
    for at, each in enumerate(chosen):
        token = _token(each)
        if token is not None:
            beside = (
                others[at].get("candidates") if at < len(others) and isinstance(others[at], dict) else None
            )
            options = [_token(other) for other in beside] if isinstance(beside, list) else []
            found.append({**token, "top_logprobs": [option for option in options if option is not None]})
    return found


def _token(candidate: Any) -> dict[str, Any] | None:
    """Token and log probability; ``None`` if either is not there."""
    if not isinstance(candidate, dict):
        return None
    token, value = candidate.get("token"), candidate.get("logProbability", 0.0)  # proto JSON leaves zero out
    if not isinstance(token, str) or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return None
    return {"token": token, "logprob": float(value), "bytes": list(token.encode())}
