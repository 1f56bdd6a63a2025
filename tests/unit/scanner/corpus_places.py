"""Where a client can put a string: a request for each place, with the text there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from corpus import Leaf, Nested, Piece, in_base64, written

Pieces = tuple[Piece, ...]
Build = Callable[[Pieces], Any]


def _chat(messages: list[Any] | None = None, **members: Any) -> dict[Any, Any]:
    said = [{"role": "user", "content": "Hello there"}] if messages is None else messages
    return {"model": "gpt-5", "messages": said, **members}


def _said(role: str, **members: Any) -> Build:
    """A message whose content is the text."""
    return lambda pieces: _chat(
        [
            {"role": "user", "content": "Hello"},
            {"role": role, **members, "content": Leaf(pieces)},
            {"role": "user", "content": "And?"},
        ]
    )


def _part(part: Callable[[Pieces], Any], role: str = "user") -> Build:
    return lambda pieces: _chat(
        [{"role": role, "content": [{"type": "text", "text": "Please:"}, part(pieces)]}], stream=True
    )


def _function(**members: Any) -> dict[Any, Any]:
    return {"type": "function", "function": {"name": "look_up", **members}}


def _tool(tool: Callable[[Pieces], Any]) -> Build:
    return lambda pieces: _chat(tools=[_function(description="Looks up"), tool(pieces)], tool_choice="auto")


def _called(call: Callable[[Pieces], Any]) -> Build:
    return lambda pieces: _chat(
        [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": None, "tool_calls": [call(pieces)]},
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ]
    )


def _call(**function: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "look_up", **function}}


def _schema(**members: Any) -> dict[Any, Any]:
    return {"type": "object", "properties": {"city": {"type": "string", **members}}, "required": ["city"]}


def _data(kind: str) -> Callable[[str], str]:
    return lambda text: f"data:{kind};base64,{in_base64(text)}"


def _item(item: Callable[[Pieces], Any]) -> Build:
    """An item of the Responses API's input."""
    return lambda pieces: {"model": "gpt-5", "input": [{"role": "user", "content": "Hi"}, item(pieces)]}


PLACES: Final[dict[str, Build]] = {
    "user text": _said("user"),
    "system text": _said("system"),
    "developer text": _said("developer"),
    "assistant text": _said("assistant"),
    "tool result": _said("tool", tool_call_id="call_1"),
    "function result": _said("function", name="look_up"),
    "text part": _part(lambda pieces: {"type": "text", "text": Leaf(pieces)}),
    "text part of a tool result": _part(lambda pieces: {"type": "text", "text": Leaf(pieces)}, "tool"),
    "text before type": _part(lambda pieces: {"text": Leaf(pieces), "type": "text"}),
    "refusal part": _part(lambda pieces: {"type": "refusal", "refusal": Leaf(pieces)}, "assistant"),
    "refusal": lambda pieces: _chat([{"role": "assistant", "refusal": Leaf(pieces)}]),
    "reasoning": lambda pieces: _chat(
        [{"role": "assistant", "content": "", "reasoning_content": Leaf(pieces)}]
    ),
    "image URL": _part(
        lambda pieces: {
            "type": "image_url",
            "image_url": {"url": Leaf(("https://img.example/a.png?x=1&note=", *pieces)), "detail": "low"},
        }
    ),
    "file name": _part(
        lambda pieces: {"type": "file", "file": {"filename": Leaf((*pieces, ".txt")), "file_id": "file-1"}}
    ),
    "file id": _part(lambda pieces: {"type": "file", "file": {"file_id": Leaf(pieces)}}),
    "unknown part": _part(lambda pieces: {"type": "whatever", "whatever": {"deep": [[Leaf(pieces)]]}}),
    "name": lambda pieces: _chat([{"role": "user", "name": Leaf(pieces), "content": "Hello"}]),
    "role": lambda pieces: _chat([{"role": Leaf(pieces), "content": "Hello"}]),
    "tool name": _tool(lambda pieces: {"type": "function", "function": {"name": Leaf(pieces)}}),
    "tool description": _tool(lambda pieces: _function(description=Leaf(pieces), strict=True)),
    "parameter description": _tool(lambda pieces: _function(parameters=_schema(description=Leaf(pieces)))),
    "parameter's values": _tool(lambda pieces: _function(parameters=_schema(enum=["a", Leaf(pieces), "b"]))),
    "parameter's default": _tool(lambda pieces: _function(parameters=_schema(default=Leaf(pieces)))),
    "parameter name": _tool(
        lambda pieces: _function(
            parameters={"type": "object", "properties": {Leaf(pieces): {"type": "string"}}}
        )
    ),
    "tool choice": lambda pieces: _chat(
        tools=[_function()], tool_choice={"type": "function", "function": {"name": Leaf(pieces)}}
    ),
    "call id": _called(lambda pieces: {**_call(arguments="{}"), "id": Leaf(pieces)}),
    "called tool's name": _called(
        lambda pieces: {"id": "c", "type": "function", "function": {"name": Leaf(pieces)}}
    ),
    "arguments": _called(lambda pieces: _call(arguments=Nested({"city": "Rome", "q": Leaf(pieces), "n": 3}))),
    "name in arguments": _called(lambda pieces: _call(arguments=Nested({"a": 1, Leaf(pieces): True}))),
    "JSON within arguments": _called(
        lambda pieces: _call(
            arguments=Nested({"body": Nested({"headers": [{"value": Leaf(pieces)}]}), "n": 1})
        )
    ),
    "JSON within JSON within arguments": _called(
        lambda pieces: _call(arguments=Nested({"a": Nested({"b": Nested({"c": Leaf(pieces)})})}))
    ),
    "arguments that are no JSON": _called(lambda pieces: _call(arguments=Leaf(('{"q": ', *pieces)))),
    "custom tool's input": _called(
        lambda pieces: {"id": "c", "type": "custom", "custom": {"name": "run", "input": Leaf(pieces)}}
    ),
    "legacy function call": lambda pieces: _chat(
        [{"role": "assistant", "function_call": {"name": "f", "arguments": Nested({"q": Leaf(pieces)})}}]
    ),
    "JSON in a tool result": lambda pieces: _chat(
        [{"role": "tool", "tool_call_id": "call_1", "content": Nested([{"log": Leaf(pieces), "ok": False}])}]
    ),
    "tool call id": lambda pieces: _chat([{"role": "tool", "tool_call_id": Leaf(pieces), "content": "ok"}]),
    "metadata value": lambda pieces: _chat(metadata={"team": "a", "note": Leaf(pieces), "z": "1"}),
    "metadata key": lambda pieces: _chat(metadata={"team": "a", Leaf(pieces): "b", "z": "1"}),
    "metadata key and value": lambda pieces: _chat(metadata={Leaf(pieces): Leaf(pieces)}),
    "user": lambda pieces: _chat(user=Leaf(pieces)),
    "safety identifier": lambda pieces: _chat(safety_identifier=Leaf(pieces), prompt_cache_key="k"),
    "stop": lambda pieces: _chat(stop=Leaf(pieces)),
    "stop sequences": lambda pieces: _chat(stop=["\n\n", Leaf(pieces), "END"]),
    "prediction": lambda pieces: _chat(prediction={"type": "content", "content": Leaf(pieces)}),
    "response format": lambda pieces: _chat(
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": _schema(const=Leaf(pieces))},
        }
    ),
    "logit bias key": lambda pieces: _chat(logit_bias={Leaf(pieces): -100}),
    "unknown member": lambda pieces: _chat(x_extra={"a": {"b": [None, True, 1.5e3, Leaf(pieces)]}}),
    "unknown top-level key": lambda pieces: {"model": "m", Leaf(pieces): [], "messages": []},
    "model": lambda pieces: {"model": Leaf(pieces), "messages": [{"role": "user", "content": "Hello"}]},
    "before the messages": lambda pieces: {"user": Leaf(pieces), **_chat()},
    "embeddings input": lambda pieces: {"model": "text-embedding-3-large", "input": Leaf(pieces)},
    "embeddings inputs": lambda pieces: {
        "model": "e",
        "input": ["first", Leaf(pieces), "third"],
        "dimensions": 256,
    },
    "instructions": lambda pieces: {"model": "gpt-5", "instructions": Leaf(pieces), "input": "Hello"},
    "input text": _item(
        lambda pieces: {"role": "user", "content": [{"type": "input_text", "text": Leaf(pieces)}]}
    ),
    "input image": _item(
        lambda pieces: {
            "role": "user",
            "content": [{"type": "input_image", "image_url": Leaf(("https://e.example/?q=", *pieces))}],
        }
    ),
    "output text": _item(
        lambda pieces: {"role": "assistant", "content": [{"type": "output_text", "text": Leaf(pieces)}]}
    ),
    "function call item": _item(
        lambda pieces: {
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": Nested({"q": Leaf(pieces)}),
        }
    ),
    "function call output": _item(
        lambda pieces: {"type": "function_call_output", "call_id": "c", "output": Leaf(pieces)}
    ),
    "prompt": lambda pieces: {"model": "m", "prompt": Leaf(pieces), "suffix": "end"},
    "prompts": lambda pieces: {"model": "m", "prompt": ["a", Leaf(pieces)]},
}

DOCUMENTS: Final[dict[str, Build]] = {
    "text file": _part(
        lambda pieces: {
            "type": "file",
            "file": {"filename": "a.txt", "file_data": Leaf(pieces, _data("text/plain"))},
        }
    ),
    "text file with a character set": _part(
        lambda pieces: {
            "type": "file",
            "file": {"filename": "a.md", "file_data": Leaf(pieces, _data("text/markdown;charset=utf-8"))},
        }
    ),
    "JSON file": _part(
        lambda pieces: {
            "type": "file",
            "file": {
                "filename": "a.json",
                "file_data": Leaf(('{"a": "', *pieces, '"}'), _data("application/json")),
            },
        }
    ),
    "YAML file": _part(
        lambda pieces: {
            "type": "file",
            "file": {
                "filename": "a.yaml",
                "file_data": Leaf(("a:\n  b: ", *pieces), _data("application/yaml")),
            },
        }
    ),
    "file without a type": _part(
        lambda pieces: {"type": "file", "file": {"filename": ".env", "file_data": Leaf(pieces, in_base64)}}
    ),
    "input file": _item(
        lambda pieces: {
            "role": "user",
            "content": [
                {
                    "type": "input_file",
                    "filename": "a.csv",
                    "file_data": Leaf(("a,b\n1,", *pieces), _data("text/csv")),
                }
            ],
        }
    ),
    "data URI of text in an image's place": _part(
        lambda pieces: {"type": "image_url", "image_url": {"url": Leaf(pieces, _data("text/plain"))}}
    ),
}
"""Documents in base64: what is hidden in them must be found in the decoded text."""


def _data_uri(text: str) -> str:
    return "data:text/plain," + written(text)


PLAIN_DATA: Final[Build] = _part(
    lambda pieces: {"type": "file", "file": {"filename": "a.txt", "file_data": Leaf(pieces, _data_uri)}}
)
"""A data URI without base64."""
