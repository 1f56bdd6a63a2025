"""The fuzzing of ``make fuzz``, for as long as a test may take, and proof that it would find something."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fuzz"))

import decoders
from providers_world import SAMPLES

from sovereign_ext.providers.registry import ADAPTERS

ROUNDS = 150


@pytest.mark.parametrize("name", decoders.targets())
def test_damaged_bytes(name: str):
    """No exception but the promised fault, no memory out of proportion."""
    target, corpus = decoders.targets()[name]
    for seed in range(ROUNDS):
        decoders.one(name, target, corpus, seed, weigh=seed % decoders.WEIGHED == 0)


def test_every_adapter_is_fuzzed():
    """A new adapter is under fire as soon as it is registered."""
    assert SAMPLES.keys() == ADAPTERS.keys()
    for kind in ADAPTERS:
        assert {f"{kind} stream", f"{kind} answer", f"{kind} error"} <= decoders.targets().keys()


def test_a_crash_is_found():
    """A decoder that stumbles over one damaged byte does not survive; the finding tells how to repeat it."""

    def fragile(data: bytes, _: random.Random) -> None:
        data.decode("ascii")

    def all_rounds() -> None:
        for seed in range(ROUNDS):
            decoders.one("fragile", fragile, [b"abcdef" * 10], seed)

    with pytest.raises(decoders.Finding, match=r"UnicodeDecodeError.*--seed") as found:
        all_rounds()
    seed = int(str(found.value).partition("--seed ")[2].split()[0])
    with pytest.raises(decoders.Finding):
        decoders.one("fragile", fragile, [b"abcdef" * 10], seed)


def test_a_flood_of_memory_is_found():
    """Whoever makes much of little is found out."""

    def greedy(data: bytes, _: random.Random) -> None:
        bytearray(8 * 1024 * 1024)

    with pytest.raises(decoders.Finding, match="bytes of memory"):
        decoders.one("greedy", greedy, [b"abc"], 0, weigh=True)
