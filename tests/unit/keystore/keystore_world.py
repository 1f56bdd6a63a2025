"""What keystore tests share: providers, a clock that is set, sources that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sovereign_ext.config.model import Aws, Credential, Provider, ProviderKind
from sovereign_ext.keystore.base import Found, Source
from sovereign_ext.keystore.chain import Chain
from sovereign_ext.keystore.declared import Declared
from sovereign_ext.keystore.links import Links
from sovereign_ext.secret import Secret

Answer = str | None | Exception


def provider(
    name: str = "p",
    kind: ProviderKind = ProviderKind.OPENAI,
    *,
    env: str | None = None,
    file: str | None = None,
    aws: dict[str, str] | None = None,
) -> Provider:
    """A provider; ``env`` or ``file`` is its ``credential``."""
    return Provider(
        id=name,
        kind=kind,
        endpoint="http://p.example",
        credential=None if env is None and file is None else Credential(env=env, file=file),
        aws=None if aws is None else Aws(**aws),
    )


class Clock:
    """Seconds, as they are set."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Told:
    """A ``Source`` that answers from ``holds``: a text, or an exception to raise. ``asked`` remembers by whom.

    While ``gate`` is not ``None`` an answer waits for it.
    """

    def __init__(self, name: str = "told", holds: dict[tuple[str, str], Answer] | None = None) -> None:
        self.name = name
        self.holds = holds or {}
        self.asked: list[tuple[str, str]] = []
        self.gate: asyncio.Event | None = None

    async def find(self, tenant: str, provider: str) -> Secret | None:
        self.asked.append((tenant, provider))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.holds.get((tenant, provider))
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else Secret(answer)


def chain(
    *sources: Source, clock: Callable[[], float] | None = None, wall: Clock | None = None, **options: object
) -> Chain:
    """A chain of ``sources``; ``options`` are fields of ``Links`` or ``environ``."""
    environ = options.pop("environ", {})
    links = Links(tuple(sources), Declared(environ), **options)  # type: ignore[arg-type]
    return Chain(links, clock or Clock(), wall or Clock(1_800_000_000.0))


def text(found: Found) -> str | None:
    """The bearer text of what was found."""
    if found.credential is None:
        return None
    assert isinstance(found.credential, Secret)
    return found.credential.reveal()
