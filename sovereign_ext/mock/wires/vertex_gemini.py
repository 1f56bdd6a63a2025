"""Gemini's ``GenerateContent`` request and response on Vertex AI, whole and streamed.

Function calls arrive whole, one per chunk, and the finish reason comes in a later chunk. Gemini 3 models add
ids and thought signatures to function calls.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Answer, Ask, Finish, Invocation, Tool, compose, texts, tokens_of
from sovereign_ext.mock.content import logprob
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import (
    Call,
    Event,
    Format,
    Identity,
    Reply,
    Stage,
    event,
    json_reply,
    stream_reply,
)
from sovereign_ext.mock.wires.base import objects, optional_int, required, schema_of, strings

_SIGNATURE = "bW9jayB0aG91Z2h0IHNpZ25hdHVyZQ=="


def check(model: str, body: dict[str, Any]) -> None:
    """Refuse what Gemini refuses. Raises ``CallerError`` (400)."""
    contents = objects(required(body, "contents", list))
    if not contents:
        raise CallerError(400, "Unable to submit request because at least one contents field is required.")
    for content in contents:
        if content.get("role", "user") not in ("user", "model"):
            raise CallerError(400, "Please use a valid role: user, model.")
        if not objects(content.get("parts")):
            raise CallerError(
                400, "Unable to submit request because it must include at least one parts field."
            )
        calls = [part for part in objects(content.get("parts")) if "functionCall" in part]
        if _signs(model) and calls and "thoughtSignature" not in calls[0]:
            raise CallerError(
                400, "Unable to submit request because function call is missing a thought_signature."
            )


def generate(call: Call, shape: Shape, identity: Identity, headers: tuple[tuple[str, str], ...]) -> Reply:
    """Answer ``generateContent`` or ``streamGenerateContent``."""
    config = schema_of(call.body.get("generationConfig"))
    ask = _ask(call.body, config)
    answers = [compose(ask, shape, variant=n) for n in range(optional_int(config, "candidateCount") or 1)]
    voice = _Voice(call.model, config, shape, identity)
    if call.stream:
        layout = Format.SSE if call.detail == "sse" else Format.JSON_ARRAY
        return stream_reply(voice.events(answers), layout, headers)
    candidates = [voice.candidate(n, answer) for n, answer in enumerate(answers)]
    return json_reply(voice.chunk(candidates, voice.usage(answers)), headers)


def _signs(model: str) -> bool:
    return model.startswith("gemini-3")


class _Voice:
    """Renders answers for one request."""

    def __init__(self, model: str, config: dict[str, Any], shape: Shape, identity: Identity) -> None:
        self._model = model
        self._shape = shape
        self._identity = identity
        self._logprobs = config.get("responseLogprobs") is True
        moment = datetime.fromtimestamp(identity.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        self._tail = {"modelVersion": model, "createTime": moment, "responseId": "mock" + identity.tag}

    def chunk(self, candidates: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        """One response message; chunks before the last report no token counts."""
        counts = {"trafficType": "ON_DEMAND", **(usage or {})}
        reported = {} if self._shape.omit_usage else {"usageMetadata": counts}
        return {"candidates": candidates, **reported, **self._tail}

    def candidate(self, number: int, answer: Answer) -> dict[str, Any]:
        """A whole candidate."""
        parts: list[dict[str, Any]] = []
        if answer.thinking:
            parts.append({"text": "".join(answer.thinking), "thought": True})
        if answer.chunks:
            parts.append({"text": answer.text})
        parts += [self._call(call) for call in answer.calls]
        return {**self._part(number, parts, answer.chunks), "finishReason": self._finish(answer)}

    def events(self, answers: list[Answer]) -> list[Event]:
        """The stream: candidates one after the other, the finish of each in a chunk of its own."""
        events: list[Event] = []
        for number, answer in enumerate(answers):
            parts: list[tuple[dict[str, Any], tuple[str, ...]]] = [
                ({"text": piece, "thought": True}, ()) for piece in answer.thinking
            ]
            parts += [({"text": piece}, (piece,)) for piece in answer.chunks]
            rest: list[tuple[dict[str, Any], tuple[str, ...]]] = []
            if self._shape.finish_with_text and answer.chunks and not answer.calls:
                rest = [parts.pop()]
            parts += [(self._call(call), ()) for call in answer.calls]
            for part, said in parts:
                one = self.chunk([self._part(number, [part], said)], None)
                events.append(event(Stage.CONTENT, one, counts=True))
            last, said = rest[0] if rest else ({"text": ""}, ())
            usage = self.usage(answers) if number == len(answers) - 1 else None
            finished = {**self._part(number, [last], said), "finishReason": self._finish(answer)}
            events.append(event(Stage.FINISH, self.chunk([finished], usage)))
        return events

    def usage(self, answers: list[Answer]) -> dict[str, Any]:
        """``usageMetadata``: candidates do not include thoughts, the total does."""
        prompt = answers[0].prompt_tokens
        thoughts = sum(answer.reasoning_tokens for answer in answers)
        spoken = sum(answer.completion_tokens for answer in answers) - thoughts
        counts: dict[str, Any] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": spoken,
            "totalTokenCount": prompt + spoken + thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": spoken}],
        }
        if thoughts:
            counts["thoughtsTokenCount"] = thoughts
        return counts | (self._shape.usage or {})

    def _part(self, number: int, parts: list[dict[str, Any]], said: tuple[str, ...]) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
        if number:  # proto JSON leaves zero out
            candidate["index"] = number
        if self._logprobs and said:
            chosen = [
                {"token": piece, "tokenId": index, "logProbability": logprob(piece)}
                for index, piece in enumerate(said)
            ]
            candidate["logprobsResult"] = {
                "chosenCandidates": chosen,
                "topCandidates": [{"candidates": [one]} for one in chosen],
            }
        return candidate

    def _call(self, call: Invocation) -> dict[str, Any]:
        function: dict[str, Any] = {"name": call.name, "args": call.value}
        if not _signs(self._model):
            return {"functionCall": function}
        part = {"functionCall": {**function, "id": "fc_" + self._identity.item(call.index)}}
        return part | ({"thoughtSignature": _SIGNATURE} if call.index == 0 else {})

    def _finish(self, answer: Answer) -> str:
        return self._shape.finish_reason or ("MAX_TOKENS" if answer.finish is Finish.LENGTH else "STOP")


def _ask(body: dict[str, Any], config: dict[str, Any]) -> Ask:
    contents = objects(body["contents"])
    calling = schema_of(schema_of(body.get("toolConfig")).get("functionCallingConfig"))
    mode, allowed = calling.get("mode", "AUTO"), strings(calling.get("allowedFunctionNames"))
    tools = [
        _tool(one)
        for group in objects(body.get("tools"))
        for one in objects(group.get("functionDeclarations"))
    ]
    if set(allowed) - {tool.name for tool in tools}:
        raise CallerError(400, "allowed_function_names should be a subset of the provided function names.")
    if allowed:
        tools = [tool for tool in tools if tool.name in allowed]
    is_json = config.get("responseMimeType") == "application/json"
    form = config.get("responseJsonSchema", config.get("responseSchema"))
    prompt = [text for content in contents for text in texts(content.get("parts"))]
    system = texts(schema_of(body.get("systemInstruction")).get("parts"))
    return Ask(
        text=_last_text(objects(contents[-1].get("parts"))),
        prompt_tokens=tokens_of([*system, *prompt]),
        max_tokens=optional_int(config, "maxOutputTokens"),
        stop=strings(config.get("stopSequences")),
        tools=() if mode == "NONE" else tuple(tools),
        must_call=mode == "ANY",
        json_schema=form if is_json and isinstance(form, dict) else None,
        json_object=is_json,
        thinking=schema_of(config.get("thinkingConfig")).get("includeThoughts") is True,
    )


def _tool(value: dict[str, Any]) -> Tool:
    return Tool(
        str(value.get("name", "")), schema_of(value.get("parametersJsonSchema", value.get("parameters")))
    )


def _last_text(parts: list[dict[str, Any]]) -> str:
    said = "".join(texts(parts))
    results = [
        schema_of(part["functionResponse"]).get("response") for part in parts if "functionResponse" in part
    ]
    return said if said or not results else "the result " + str(results[-1])
