"""Talks to a mock with Ollama's SDK and prints what it understood, as JSON."""

import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1])
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]


def ask(text: str, **more: object) -> dict:
    return {"model": "llama3.3:8b", "messages": [{"role": "user", "content": text}], **more}


out: dict = {}
out["whole"] = client.chat(**ask("hello there")).model_dump(mode="json")
out["stream"] = [chunk.model_dump(mode="json") for chunk in client.chat(**ask("hello there"), stream=True)]
out["tools"] = client.chat(**ask("two tools", tools=TOOLS)).model_dump(mode="json")
out["tool_stream"] = [
    chunk.model_dump(mode="json") for chunk in client.chat(**ask("two tools", tools=TOOLS), stream=True)
]
out["json"] = client.chat(**ask("hi", format=WEATHER)).message.content
out["object"] = client.chat(**ask("hi", format="json")).message.content
out["cut"] = client.chat(**ask("hello there", options={"num_predict": 2})).model_dump(mode="json")
out["thinking"] = client.chat(**ask("hi", think=True)).model_dump(mode="json")
out["logprobs"] = client.chat(**ask("hi", logprobs=True)).model_dump(mode="json")["logprobs"]
out["embed"] = client.embed(model="nomic-embed-text", input=["a", "b"], dimensions=16).model_dump(mode="json")
out["models"] = [model.model for model in client.list().models]
for model in ("limited", "breaks"):
    seen = []
    try:
        for chunk in client.chat(**ask("hi") | {"model": model}, stream=True):
            seen.append(chunk.message.content)
    except ollama.ResponseError as error:
        out[model] = [seen, error.status_code, error.error]
print(json.dumps(out))
