"""An answer told piece by piece, with several choices or log probabilities; one choice is every adapter's test."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import chat, streamed

from sovereign_ext.providers._reply import Reply, ReplyBody, ReplyStream, completion
from sovereign_ext.providers.base import Item, Part, Usage

LOGPROBS = [
    {"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169], "top_logprobs": []},
    {"token": "llo", "logprob": -1.0, "bytes": [108, 108, 111], "top_logprobs": []},
]


def chunks(items: list[Item]) -> list[dict[str, Any]]:
    return [json.loads(item.data) for item in items if item.data]


def told(first: Reply, second: Reply) -> list[Item]:
    """The same two choices, alternating as they come."""
    return [
        *first.text("hé", LOGPROBS[:1]),
        *second.call("call_1", "look"),
        *first.text("llo", LOGPROBS[1:]),
        *second.arguments('{"a":1}'),
    ]


def test_several_choices_share_a_stream():
    """Each choice has its index, its role and its end; usage and the end of the stream come once, after all of them."""
    first, second = (ReplyStream(streamed(usage=True), "id", 5, choice=choice) for choice in (0, 1))
    items = [
        *told(first, second),
        *first.end("stop"),
        *second.end("tool_calls"),
        *first.complete(Usage(7, 5)),
    ]
    for chunk in chunks(items):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    choices = [choice for chunk in chunks(items) for choice in chunk["choices"]]
    for index, reason in ((0, "stop"), (1, "tool_calls")):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == [reason]
    assert [item.part for item in items][-4:] == [Part.FINISH, Part.FINISH, Part.USAGE, Part.DONE]


def test_several_choices_make_a_completion():
    """The gathered choices are those of the stream."""
    first, second = ReplyBody(chat()), ReplyBody(chat())
    assert told(first, second) == []
    first.finish("stop", Usage())
    second.finish("tool_calls", Usage())
    answer = completion(chat(), "id", 5, [first.choice(0), second.choice(1)], Usage(7, 5))
    made = ChatCompletion.model_validate(json.loads(answer.body), strict=True)
    assert [choice.index for choice in made.choices] == [0, 1]
    assert [choice.finish_reason for choice in made.choices] == ["stop", "tool_calls"]
    assert made.choices[0].message.content == "héllo"
    assert made.choices[1].message.content is None
    assert made.usage is not None
    assert (made.usage.total_tokens, answer.usage) == (12, Usage(7, 5))


def test_log_probabilities():
    """They travel with their text: chunk by chunk in a stream, all together in a completion; elsewhere null stands."""
    stream = ReplyStream(streamed(), "id", 5)
    found = [
        choice["logprobs"]
        for chunk in chunks(
            [*stream.text("hé", LOGPROBS[:1]), *stream.text("x"), *stream.text("llo", LOGPROBS[1:])]
        )
        for choice in chunk["choices"]
    ]
    alone = [{"content": [each], "refusal": None} for each in LOGPROBS]
    assert found == [None, alone[0], None, alone[1]]
    body = ReplyBody(chat())
    assert [*body.text("hé", LOGPROBS[:1]), *body.text("llo", LOGPROBS[1:])] == []
    assert body.choice()["logprobs"] == {"content": LOGPROBS, "refusal": None}
    assert ReplyBody(chat()).choice()["logprobs"] is None
