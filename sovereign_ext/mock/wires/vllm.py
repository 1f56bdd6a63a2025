"""vLLM's OpenAI-compatible server: OpenAI's wire with what vLLM adds and leaves out.

Adds ``stop_reason``, ``token_ids``, ``prompt_logprobs``, ``kv_transfer_params`` and ``reasoning`` (which
replaced ``reasoning_content``); errors carry a numeric ``code``. Reasoning is shown when the request sets
``reasoning_effort`` to anything but ``none``, or ``chat_template_kwargs.enable_thinking``. Chunks before the
last carry no ``usage`` key at all. For the flat error bodies of older versions use a fault with ``body``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zlib import crc32

from sovereign_ext.mock.answer import Answer, Ask, Finish
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import Call, Event, Failure, Identity, Reply, Stage, event, json_reply
from sovereign_ext.mock.wires.base import schema_of
from sovereign_ext.mock.wires.openai import OpenAI

_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class Vllm(OpenAI):
    """A vLLM server."""

    kind = "vllm"
    default_models = ("Qwen/Qwen3-8B", "mistralai/Mistral-Small-3.2", "BAAI/bge-m3")

    def headers(self, identity: Identity) -> tuple[tuple[str, str], ...]:
        """vLLM names the server and nothing else."""
        return (("server", "uvicorn"), ("x-request-id", identity.tag))

    def ask(self, body: dict[str, Any]) -> Ask:
        """OpenAI's reading, and whether reasoning is wanted."""
        effort = body.get("reasoning_effort")
        thinking = schema_of(body.get("chat_template_kwargs")).get("enable_thinking") is True
        return replace(super().ask(body), thinking=thinking or effort not in (None, "none"))

    def message(self, answer: Answer, body: dict[str, Any], identity: Identity) -> dict[str, Any]:
        """OpenAI's message, always with ``tool_calls`` and ``reasoning``."""
        message = super().message(answer, body, identity)
        message.setdefault("tool_calls", [])
        return message | {"audio": None, "function_call": None, "reasoning": "".join(answer.thinking) or None}

    def choice_extras(self, answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
        """``stop_reason`` is the stop string, or null; token ids only when asked for."""
        asked = body.get("return_token_ids") is True
        stopped = answer.stopped_by if answer.finish is Finish.STOP_SEQUENCE else None
        return {"stop_reason": stopped, "token_ids": _token_ids(answer.chunks) if asked else None}

    def thinking_deltas(self, answer: Answer) -> list[dict[str, Any]]:
        """Reasoning comes before content."""
        return [{"reasoning": piece} for piece in answer.thinking]

    def usage(self, answers: list[Answer], shape: Shape) -> dict[str, Any]:
        """vLLM's counts: no details about completion tokens."""
        usage = super().usage(answers, Shape())
        del usage["completion_tokens_details"]
        return usage | {"prompt_tokens_details": None} | (shape.usage or {})

    usage_null = False

    def chunk_extras(self, body: dict[str, Any]) -> dict[str, Any]:
        """Nothing on chunks."""
        return {}

    def reply_extras(self, body: dict[str, Any]) -> dict[str, Any]:
        """Prompt fields, null unless asked for."""
        asked = body.get("return_token_ids") is True
        ids = _token_ids(tuple(str(body.get("messages")).split())) if asked else None
        return {
            "service_tier": None,
            "system_fingerprint": None,
            "prompt_logprobs": None,
            "prompt_token_ids": ids,
            "kv_transfer_params": None,
        }

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """Nested, with the status as a number for code."""
        return json_reply({"error": _error(failure)}, self.headers(identity), failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """The nested error as an event."""
        return event(Stage.FAILURE, {"error": _error(failure)})


def _error(failure: Failure) -> dict[str, Any]:
    return {
        "message": failure.message or f"The mock was told to answer {failure.status}.",
        "type": failure.type or _TYPES.get(failure.status, "InternalServerError"),
        "param": failure.param or None,
        "code": int(failure.code) if failure.code.isdecimal() else failure.status,
    }


def _token_ids(chunks: tuple[str, ...]) -> list[int]:
    return [crc32(chunk.encode("utf-8", "surrogatepass")) % 150_000 for chunk in chunks]
