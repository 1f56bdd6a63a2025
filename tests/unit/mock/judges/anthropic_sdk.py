"""Talks to a mock with Anthropic's SDK and prints what it understood, as JSON."""

import json
import sys

import anthropic

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"name": "get_weather", "input_schema": WEATHER},
    {"name": "ping", "input_schema": {"type": "object"}},
]
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="sk-ant-test", max_retries=0)


def ask(text: str, **more: object) -> dict:
    return {"model": "claude-x", "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}


out: dict = {}
out["whole"] = client.messages.create(**ask("hello there")).model_dump(mode="json")
out["cut"] = client.messages.create(**ask("hello there") | {"max_tokens": 2}).model_dump(mode="json")
out["tools"] = client.messages.create(**ask("two tools", tools=TOOLS)).model_dump(mode="json")
with client.messages.stream(**ask("hello there")) as stream:
    out["events"] = [event.type for event in stream]
    out["streamed"] = stream.get_final_message().model_dump(mode="json")
with client.messages.stream(**ask("first say, then two tools", tools=TOOLS)) as stream:
    out["streamed_tools"] = stream.get_final_message().model_dump(mode="json")
with client.messages.stream(**ask("hi", thinking={"type": "enabled", "budget_tokens": 1024})) as stream:
    out["thinking"] = stream.get_final_message().model_dump(mode="json")
form = {"format": {"type": "json_schema", "schema": WEATHER}}
out["json"] = client.messages.create(**ask("hi", output_config=form)).content[0].text
out["models"] = [model.id for model in client.models.list()]
try:
    client.messages.create(**ask("hi") | {"messages": []})
except anthropic.BadRequestError as error:
    out["refused"] = error.body
for model in ("limited", "overloaded"):
    try:
        client.messages.create(**ask("hi") | {"model": model})
    except anthropic.APIStatusError as error:
        out[model] = [type(error).__name__, error.status_code, error.body["error"]["type"]]
try:
    with client.messages.stream(**ask("hi") | {"model": "breaks"}) as stream:
        out["before_break"] = [event.delta.text for event in stream if event.type == "content_block_delta"]
except anthropic.APIStatusError as error:
    out["broken"] = error.body["error"]["type"]
print(json.dumps(out))
