"""What the tests of the mock share: native requests per kind, a raw HTTP client that sees how a body ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

ROOT = Path(__file__).resolve().parents[3]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Asked:
    """A native request: path, headers, body."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


def chat(kind: str, text: str = "hello there world", *, stream: bool = False, tool: bool = False) -> Asked:
    """A chat request in a kind's own words, with one tool on request."""
    messages = [{"role": "user", "content": text}]
    if kind in ("openai", "vllm", "mock"):
        function = {"name": "get_weather", "parameters": WEATHER}
        tools = {"tools": [{"type": "function", "function": function}]} if tool else {}
        return Asked("/v1/chat/completions", {"model": "m", "messages": messages, "stream": stream, **tools})
    if kind == "ollama":
        function = {"name": "get_weather", "parameters": WEATHER}
        tools = {"tools": [{"type": "function", "function": function}]} if tool else {}
        return Asked("/api/chat", {"model": "m", "messages": messages, "stream": stream, **tools})
    if kind == "anthropic":
        tools = {"tools": [{"name": "get_weather", "input_schema": WEATHER}]} if tool else {}
        body = {"model": "m", "max_tokens": 9999, "messages": messages, "stream": stream, **tools}
        return Asked("/v1/messages", body, {"anthropic-version": "2023-06-01"})
    if kind == "bedrock":
        spec = {"name": "get_weather", "inputSchema": {"json": WEATHER}}
        tools = {"toolConfig": {"tools": [{"toolSpec": spec}]}} if tool else {}
        body = {"messages": [{"role": "user", "content": [{"text": text}]}], **tools}
        return Asked(f"/model/m/{'converse-stream' if stream else 'converse'}", body)
    assert kind == "vertex"
    declared = {"name": "get_weather", "parametersJsonSchema": WEATHER}
    tools = {"tools": [{"functionDeclarations": [declared]}]} if tool else {}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **tools}
    return Asked(f"/v1/projects/p/locations/l/publishers/google/models/m:{method}", body)


def contents(kind: str, body: bytes) -> list[str]:
    """The text of each content event in a native stream, read with nothing but string tools."""
    if kind == "bedrock":
        return [
            json.loads(payload)["delta"]["text"]
            for name, payload in frames(body)
            if name == "contentBlockDelta"
        ]
    if kind == "ollama":
        found = [json.loads(line)["message"]["content"] for line in body.splitlines() if b'"message"' in line]
        return [text for text in found if text]
    found = []
    for line in body.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        value = json.loads(line.removeprefix("data: "))
        match kind:
            case "anthropic":
                text = value.get("delta", {}).get("text")
            case "vertex":
                text = value["candidates"][0]["content"]["parts"][0]["text"]
            case _:
                text = value["choices"][0]["delta"].get("content") if value.get("choices") else None
        if text:
            found.append(text)
    return found


def frames(body: bytes) -> list[tuple[str, bytes]]:
    """AWS event stream frames as (event or exception name, payload), without checking CRCs."""
    found = []
    while len(body) >= 12:
        total, head = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
        headers, place = {}, 12
        while place < 12 + head:
            name_end = place + 1 + body[place]
            size = int.from_bytes(body[name_end + 1 : name_end + 3])
            headers[body[place + 1 : name_end].decode()] = body[name_end + 3 : name_end + 3 + size].decode()
            place = name_end + 3 + size
        name = headers.get(":event-type") or headers[":exception-type"]
        found.append((name, body[12 + head : total - 4]))
        body = body[total:]
    return found


@dataclass(frozen=True)
class Got:
    """What a raw client saw. ``end`` is ``whole`` when the framing said so and the connection stayed open."""

    status: int
    headers: dict[str, str]
    raw_head: bytes
    body: bytes  # chunks joined
    chunks: list[bytes]
    end: str  # whole, fin, rst


class Client:
    """A socket that speaks just enough HTTP to notice when the other side does not."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.seen = b""

    def send(self, asked: Asked, *, version: str = "1.1") -> None:
        body = json.dumps(asked.body).encode() if asked.method == "POST" else b""
        lines = [f"{asked.method} {asked.path} HTTP/{version}", "Host: mock", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def read(self) -> Got:
        """Read one answer to its end, however it ends."""
        end = "whole"
        while True:
            got = self._whole()
            if got is not None:
                return got
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                end = "rst"
                break
            if not data:
                end = "fin"
                break
            self.seen += data
        return self._parse(self.seen, end)

    def silent(self, seconds: float = 0.1) -> bool:
        """Nothing more arrives for a while."""
        self.sock.settimeout(seconds)
        try:
            self.seen += self.sock.recv(1 << 20)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(PATIENCE_S)
        return False

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _whole(self) -> Got | None:
        head, found, rest = self.seen.partition(b"\r\n\r\n")
        if not found:
            return None
        headers = _headers(head)
        if head.startswith(b"HTTP/1.1 204 "):
            self.seen = rest
            return self._parse(head + found, "whole")
        if "content-length" in headers:
            if headers.get("connection") == "close":
                return None  # whatever follows shows whether the length was right
            length = int(headers["content-length"])
            if len(rest) < length:
                return None
            self.seen = rest[length:]
            return self._parse(head + found + rest[:length], "whole")
        if headers.get("transfer-encoding") == "chunked" and (stop := _last_chunk(rest)) is not None:
            self.seen = rest[stop:]
            return self._parse(head + found + rest[:stop], "whole")
        return None

    @staticmethod
    def _parse(seen: bytes, end: str) -> Got:
        head, _, rest = seen.partition(b"\r\n\r\n")
        headers = _headers(head)
        chunks = [rest]
        if headers.get("transfer-encoding") == "chunked":
            chunks = _chunks(rest)
        status = int(head.split(b" ")[1]) if b"\r\n" in head else 0
        return Got(status, headers, head, b"".join(chunks), chunks, end)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def _last_chunk(rest: bytes) -> int | None:
    place = 0
    while (line := rest.find(b"\r\n", place)) >= 0:
        size = int(rest[place:line], 16)
        place = line + 2 + size + 2
        if size == 0:
            return place
        if place > len(rest):
            return None
    return None


def _chunks(rest: bytes) -> list[bytes]:
    found, place = [], 0
    while (line := rest.find(b"\r\n", place)) >= 0:
        size = int(rest[place:line], 16)
        found.append(rest[line + 2 : line + 2 + size])
        place = line + 2 + size + 2
    return [chunk for chunk in found if chunk]


def judge(script: str, url: str) -> dict[str, Any]:
    """Run a script of ``judges/`` where the providers' SDKs are installed; returns what it printed."""
    python = Path(os.environ.get("SOVEREIGN_JUDGES_PYTHON") or ROOT / ".venv-judges" / "bin" / "python")
    assert python.exists(), (
        f"no interpreter with the providers' SDKs at {python}: run `make test`, which sets it up, "
        "or point SOVEREIGN_JUDGES_PYTHON at one that has requirements/judges.lock"
    )
    path = Path(__file__).parent / "judges" / f"{script}.py"
    done = subprocess.run([python, path, url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ask(mock: RunningMock, fault: Fault, *, stream: bool = True, text: str = "hello there world") -> Got:
    """One request that meets the fault, read to its end."""
    mock.fault(fault)
    with Client(mock.port) as client:
        client.send(chat(mock.server.kind, text, stream=stream))
        return client.read()


def ended(mock: RunningMock, number: int = -1) -> str:
    """How the server says the answer ended, once it has ended."""
    patience = time.monotonic() + PATIENCE_S
    while (how := mock.requests()[number].ended) == "in_progress":
        assert time.monotonic() < patience, "the answer never ended"
        time.sleep(0.001)
    return how


def text_of(got: Got) -> str:
    return "".join(contents("openai", got.body))
