"""Talks to a mock with google-genai, google-auth and Anthropic's Vertex client; prints what they read."""

import json
import sys

import anthropic
import google.auth.transport.requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google import genai
from google.genai import errors, types
from google.oauth2 import credentials, service_account

url = sys.argv[1]
client = genai.Client(
    vertexai=True,
    project="p",
    location="us-central1",
    credentials=credentials.Credentials(token="test"),
    http_options=types.HttpOptions(base_url=url, api_version="v1"),
)
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DECLARED = [
    types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER),
    types.FunctionDeclaration(name="ping"),
]
TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=DECLARED)],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def dump(reply: types.GenerateContentResponse) -> dict:
    return reply.model_dump(mode="json", exclude_none=True, exclude={"sdk_http_response"})


def ask(text: str, config: types.GenerateContentConfig | None = None, model: str = "gemini-2.5-pro") -> dict:
    return {"model": model, "contents": text, "config": config}


out: dict = {}
out["whole"] = dump(client.models.generate_content(**ask("hello there")))
out["stream"] = [dump(chunk) for chunk in client.models.generate_content_stream(**ask("hello there"))]
out["tools"] = dump(client.models.generate_content(**ask("two tools", TOOLS)))
out["tools3"] = dump(client.models.generate_content(**ask("two tools", TOOLS, "gemini-3-pro")))
out["tool_stream"] = [
    dump(chunk) for chunk in client.models.generate_content_stream(**ask("two tools", TOOLS))
]
form = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=WEATHER)
out["json"] = client.models.generate_content(**ask("hi", form)).text
limited = types.GenerateContentConfig(max_output_tokens=2)
out["cut"] = dump(client.models.generate_content(**ask("hello there", limited)))
thinking = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
out["thinking"] = dump(client.models.generate_content(**ask("hi", thinking)))
two = types.GenerateContentConfig(candidate_count=2)
out["two"] = dump(client.models.generate_content(**ask("hi", two)))
size = types.EmbedContentConfig(output_dimensionality=8)
for model in ("text-embedding-005", "gemini-embedding-001"):
    out[model] = client.models.embed_content(model=model, contents="a", config=size).embeddings[0].values
several = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=size)
out["several"] = [embedding.values for embedding in several.embeddings]
for model in ("limited", "breaks"):
    try:
        seen = []
        for chunk in client.models.generate_content_stream(**ask("hi", model=model)):
            seen.append(chunk.text)
    except errors.APIError as error:
        out[model] = [seen, error.code, error.status]

key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
info = {
    "client_email": "a@p.iam.gserviceaccount.com",
    "private_key": pem,
    "private_key_id": "k",
    "token_uri": url + "/token",
}
account = service_account.Credentials.from_service_account_info(
    info, scopes=["https://www.googleapis.com/auth/cloud-platform"]
)
account.refresh(google.auth.transport.requests.Request())
out["token"] = [account.token, account.valid]

claude = anthropic.AnthropicVertex(
    base_url=url + "/v1", project_id="p", region="us-east5", access_token="test", max_retries=0
)
message = {
    "model": "claude-sonnet-5@20260101",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "hello"}],
}
out["claude"] = claude.messages.create(**message).model_dump(mode="json")
with claude.messages.stream(**message) as stream:
    out["claude_stream"] = stream.get_final_message().model_dump(mode="json")
try:
    claude.messages.create(**message | {"model": "limited"})
except anthropic.RateLimitError as error:
    out["claude_limited"] = error.body["error"]["type"]
print(json.dumps(out))
