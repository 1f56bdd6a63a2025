"""Talks to a mock with boto3 and prints what it understood, as JSON."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
client = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    endpoint_url=sys.argv[1],
    aws_access_key_id="AKIATEST",
    aws_secret_access_key="test",
    config=Config(retries={"max_attempts": 1}),
)
MODEL = "us.anthropic.claude-sonnet-5:0"
TOOLS = {
    "tools": [
        {"toolSpec": {"name": "get_weather", "inputSchema": {"json": WEATHER}}},
        {"toolSpec": {"name": "ping", "inputSchema": {"json": {"type": "object"}}}},
    ]
}


def ask(text: str, **more: object) -> dict:
    return {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": text}]}], **more}


def plain(reply: dict) -> dict:
    return {key: value for key, value in reply.items() if key != "ResponseMetadata"}


out: dict = {}
whole = client.converse(**ask("hello there", system=[{"text": "be brief"}]))
out["whole"] = plain(whole)
out["request_id"] = whole["ResponseMetadata"]["RequestId"]
out["cut"] = client.converse(**ask("hello there", inferenceConfig={"maxTokens": 2}))["stopReason"]
out["tools"] = plain(client.converse(**ask("two tools", toolConfig=TOOLS)))
out["events"] = list(client.converse_stream(**ask("hello there"))["stream"])
out["tool_events"] = list(
    client.converse_stream(**ask("first say, then two tools", toolConfig=TOOLS))["stream"]
)
structure = {"jsonSchema": {"name": "w", "schema": json.dumps(WEATHER)}}
form = {"textFormat": {"type": "json_schema", "structure": structure}}
out["json"] = client.converse(**ask("hi", outputConfig=form))["output"]["message"]["content"][0]["text"]
thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
out["thinking"] = plain(client.converse(**ask("hi", additionalModelRequestFields=thinking)))
titan = client.invoke_model(
    modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "a", "dimensions": 256})
)
out["titan"] = json.load(titan["body"])
body = json.dumps({"texts": ["a", "b"], "input_type": "search_query"})
out["cohere"] = json.load(client.invoke_model(modelId="cohere.embed-english-v3", body=body)["body"])
for model in ("limited", "quota"):
    try:
        client.converse(**ask("hi") | {"modelId": model})
    except ClientError as error:
        out[model] = [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
for model in ("throttled", "damaged"):
    seen: list = []
    try:
        for event in client.converse_stream(**ask("hi") | {"modelId": model})["stream"]:
            seen.append(next(iter(event)))
    except EventStreamError as error:
        out[model] = [seen, error.response["Error"]["Code"]]
    except Exception as error:
        out[model] = [seen, type(error).__name__]
print(json.dumps(out))
