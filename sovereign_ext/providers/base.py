"""What an adapter promises: one provider's wire format, and nothing else.

An adapter is values in, values out: no network, no clock, no credentials store. It says what to send, and
turns what came back into OpenAI's shapes. Whether an attempt is retried, recorded or attested is decided
elsewhere, from the verdicts given here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, runtime_checkable

import msgspec

from sovereign_ext.config.model import Capability, Deployment, Provider, ProviderKind
from sovereign_ext.credentials import ProviderCredential
from sovereign_ext.errors import ApiError
from sovereign_ext.openai.conversation import Image
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.support import Support


class UpstreamRequest(msgspec.Struct, frozen=True):
    """What goes out: ``path`` with the endpoint's prefix, header names in lower case, the exact body.

    ``dropped`` names the parameters that were left out because the answer does not depend on them much; the client is
    told in a response header.
    """

    path: str
    authority: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dropped: tuple[str, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counted them; ``None`` where it said nothing.

    As OpenAI counts: ``cached_tokens`` (read from a cache) and ``cache_write_tokens`` are parts of
    ``prompt_tokens``, ``reasoning_tokens`` of ``completion_tokens``.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an answer cannot be used.

    ``outcome`` is the reason code for the record. ``walk`` says whether another provider may do better;
    ``error`` is what the client is told if none does. ``caller`` marks the caller's own fault, which never
    lowers the provider's health.
    """

    outcome: str
    walk: bool
    error: ApiError
    caller: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A complete, translated JSON answer."""

    body: bytes
    usage: Usage


class Part(Enum):
    """What one item of a translated stream is."""

    LIFECYCLE = auto()  # role-only and empty chunks: nothing a reader would see
    CONTENT = auto()  # text, tool calls, refusals, reasoning
    FINISH = auto()  # carries a finish_reason
    USAGE = auto()  # the choices:[] chunk with usage
    DONE = auto()  # the provider said that the stream is complete


class Item(msgspec.Struct, frozen=True):
    """One chunk of a translated stream: JSON bytes in OpenAI's chunk shape (empty for ``DONE``)."""

    part: Part
    data: bytes = b""


class StreamFault(Exception):
    """The stream cannot go on. Raised by ``StreamTranslator``; ``fault`` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.outcome)
        self.fault = fault


class StreamTranslator(Protocol):
    """One response's stream: provider bytes in, OpenAI chunks out.

    ``feed`` and ``flush`` give items as they are decoded and must be consumed; they raise ``StreamFault``
    after the items that came before the fault. ``flush`` is called once, at the provider's end of stream;
    whatever is cut in the middle then is dropped.
    ``usage`` is what is known so far. ``terminal`` tells whether the provider's own end marker was seen.
    """

    usage: Usage
    terminal: bool

    def feed(self, piece: bytes) -> Iterable[Item]: ...

    def flush(self) -> Iterable[Item]: ...


class Target(msgspec.Struct, frozen=True):
    """Where one attempt goes, with which credential, and when (``now_s``, Unix seconds, for signatures).

    ``media`` holds the bytes behind URLs of the request, where they were fetched (see ``BytesOnly``).
    """

    deployment: Deployment
    provider: Provider
    credential: ProviderCredential | None
    now_s: float
    media: Mapping[str, bytes] = msgspec.field(default_factory=dict)


class Adapter(Protocol):
    """One provider kind's wire format. ``support`` says what becomes of each parameter of a chat request."""

    kind: ProviderKind
    capabilities: frozenset[Capability]
    support: Support

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        """What to send. Raises ``CallerError`` where the provider cannot do what the request needs."""

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        """Translate a complete 2xx body. Raises ``StreamFault`` if it is no answer.

        ``call_id`` is unique to the call, for providers whose answers carry no id of their own.
        """

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        """A translator for a 2xx stream. ``now_s`` is Unix seconds, ``limit`` bounds one event in bytes."""

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        """Classify a non-2xx answer by its status first, then by what its headers and body add.

        ``headers`` has lower-case names; ``now_s`` is Unix seconds, to read dates against.
        """


@runtime_checkable
class BytesOnly(Protocol):
    """What an adapter is, too, whose provider takes pictures as bytes only."""

    def wanted_media(self, request: Request) -> tuple[Image, ...]:
        """The pictures of a request that are to be fetched before ``Adapter.request`` is asked.

        Empty also for a request that it will refuse. What is not in ``Target.media`` then is refused by it.
        """
