"""What `helm test` runs: a JSON call, a streamed call and one that is denied. Needs nothing but Python.

Says one line for each, and ends with 1 at the first that is not as it should be. Never prints the key.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from http.client import HTTPResponse

TIMEOUT_S = 60.0


def main() -> int:
    """The three calls, in order; the exit code."""
    for name, attempt in (("json", json_call), ("stream", stream_call), ("denied", denied_call)):
        try:
            print(f"{name:8}{attempt()}", flush=True)
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            print(f"{name:8}FAILED: {error}", flush=True)
            return 1
    return 0


def json_call() -> str:
    """A whole answer, with the attestation that says where its receipt is."""
    with post(os.environ["API_KEY"], stream=False) as answer:
        body = json.load(answer)
    expect(isinstance(body["choices"][0]["message"]["content"], str), "the answer has no content")
    return f"200, entry {body['_sf_attestation']['rekor_index']} of the log"


def stream_call() -> str:
    """Events to the end, which only a whole stream has."""
    with post(os.environ["API_KEY"], stream=True) as answer:
        kind = answer.headers.get_content_type()
        expect(kind == "text/event-stream", f"the answer is {kind}, not text/event-stream")
        events = [line[len(b"data: ") :].strip() for line in answer if line.startswith(b"data: ")]
    expect(b"[DONE]" in events, f"the stream ended after {len(events)} events without [DONE]")
    chunks = events[: events.index(b"[DONE]")]
    attested = any("_sf_attestation" in json.loads(chunk) for chunk in chunks)
    expect(attested, "no chunk has the attestation")
    return f"200, {len(chunks)} chunks and [DONE]"


def denied_call() -> str:
    """A key that nobody has is refused, in OpenAI's shape of an error."""
    try:
        with post("sk-router-" + "0" * 43, stream=False) as answer:
            raise AssertionError(f"a wrong key was answered with {answer.status}")
    except urllib.error.HTTPError as refusal:
        code = json.load(refusal)["error"]["code"]
        expect((refusal.code, code) == (401, "invalid_api_key"), f"expected 401, got {refusal.code} {code}")
        return f"{refusal.code} {code}"


def post(key: str, *, stream: bool) -> HTTPResponse:
    """The answer to a chat call. Raises ``HTTPError`` for any other status than 2xx."""
    call = {
        "model": os.environ["MODEL"],
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 16,
        "stream": stream,
    }
    request = urllib.request.Request(  # noqa: S310 - the chart takes no other scheme than http and https
        os.environ["BASE_URL"].rstrip("/") + "/v1/chat/completions",
        data=json.dumps(call).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=roots())  # noqa: S310


def roots() -> ssl.SSLContext:
    """The system's roots, and those of the certificate's Secret where it has any."""
    context = ssl.create_default_context()
    if os.path.exists(found := os.environ.get("CA_FILE", "")):
        context.load_verify_locations(found)
    return context


def expect(holds: bool, otherwise: str) -> None:
    """Raises ``AssertionError`` with ``otherwise``; an `assert` would be gone under -O."""
    if not holds:
        raise AssertionError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
