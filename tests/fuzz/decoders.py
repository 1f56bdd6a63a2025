"""Throws damaged provider bytes at every decoder that reads them, for a stated time.

``python tests/fuzz/decoders.py --seconds 60`` (``make fuzz``). Each round takes an answer or a stream as a provider
sends it, damages it in a few places, cuts it into pieces and feeds it to the adapter that would read it. What may come
out is an answer, chunks, or the fault that the adapter promises; anything else ends the run with the seed that repeats
it, and so does memory out of proportion to what was fed. Deliberately without coverage feedback: the bytes begin
as good ones, so damage reaches deep, and nothing has to be compiled.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "unit" / "providers"))

from providers_world import (  # noqa: E402
    CALL_ID,
    NOW_S,
    SAMPLES,
    chat,
    embeddings,
    streamed,
    target_of,
)

from sovereign_ext.exchange.gather import inflate  # noqa: E402
from sovereign_ext.openai.request import Request  # noqa: E402
from sovereign_ext.providers.base import Fault, Part, StreamFault  # noqa: E402
from sovereign_ext.providers.registry import ADAPTERS  # noqa: E402

LIMIT = 64 * 1024  # bytes of one event
SPARE = 2 * 1024 * 1024  # bytes of memory that any input may take, whatever its size
FACTOR = 64  # … and this many for each byte that was fed
WEIGHED = 40  # every so many rounds memory is measured, which costs time

TOKENS = [
    b"null", b"true", b"1e999", b"-1", b"99999999999999999999", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xff\xfe", b"{",
    b"}", b"[", b"]", b"[" * 3000, b"{\"a\":" * 3000, b"\n", b"\r", b"\r\n\r\n", b"data: ", b"data: [DONE]\n\n",
    b"event: error\n",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xe5\x8c", b",", b":", b"NaN", b"x" * 5000, b"",
]  # fmt: skip

Target = Callable[[bytes, random.Random], None]


def pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """``data`` cut anywhere."""
    while data:
        size = rng.choice((1, 2, 7, 60, 700, len(data)))
        yield data[:size]
        data = data[size:]


def damage(data: bytes, rng: random.Random) -> bytes:
    """A few bytes replaced, dropped, doubled, moved, or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        length = min(rng.choice((0, 1, 1, 4, 30)), len(out) - at)
        match rng.randrange(5):
            case 0:
                out[at : at + length] = rng.choice(TOKENS)
            case 1:
                out[at : at + length] = b""
            case 2:
                out[at:at] = out[at : at + length]
            case 3 if length:
                out[at] ^= 1 << rng.randrange(8)
            case _:
                out[at : at + length] = rng.randbytes(length)
    return bytes(out) if rng.random() > 0.1 else bytes(out[: rng.randrange(len(out) + 1)])


def stream_of(kind: object, request: Request) -> Target:
    """Feeds a stream to an adapter's translator."""

    def run(data: bytes, rng: random.Random) -> None:
        adapter = ADAPTERS[kind]  # type: ignore[index]
        translator = adapter.stream(
            request, target_of(adapter.kind), call_id=CALL_ID, now_s=NOW_S, limit=LIMIT
        )
        try:
            for piece in pieces(data, rng):
                check_items(translator.feed(piece))
            check_items(translator.flush())
        except StreamFault as fault:
            check_fault(fault.fault)

    return run


def answer_of(kind: object, request: Request) -> Target:
    """Gives a whole body to an adapter."""

    def run(data: bytes, rng: random.Random) -> None:
        adapter = ADAPTERS[kind]  # type: ignore[index]
        try:
            answer = adapter.answer(request, target_of(adapter.kind), data, call_id=CALL_ID)
        except StreamFault as fault:
            check_fault(fault.fault)
        else:
            assert isinstance(json.loads(answer.body.decode(errors="replace")), dict)
            counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
            assert all(count is None or count >= 0 for count in counted), counted

    return run


def fault_of(kind: object) -> Target:
    """Gives an error body with some status and headers to an adapter."""

    def run(data: bytes, rng: random.Random) -> None:
        adapter = ADAPTERS[kind]  # type: ignore[index]
        status = rng.choice((300, 400, 401, 402, 403, 404, 408, 413, 422, 424, 429, 499, 500, 503, 529, 599))
        names = ("retry-after", "retry-after-ms", "x-amzn-errortype", "content-type")
        headers = {name: damage(b"12", rng).decode("latin-1") for name in names}
        check_fault(adapter.fault(status, headers, data, target_of(adapter.kind), now_s=NOW_S))

    return run


def inflated(data: bytes, rng: random.Random) -> None:
    """Compressed bodies, with the limit on what they may grow to."""
    unpack = inflate(rng.choice(("gzip", "deflate", "identity", None)), LIMIT)
    try:
        for piece in pieces(data, rng):
            assert len(unpack(piece)) <= max(LIMIT, len(piece))
    except StreamFault as fault:
        check_fault(fault.fault)


def check_items(items: object) -> None:
    for item in items:  # type: ignore[attr-defined]
        if item.part is not Part.DONE:
            assert b"\n" not in item.data
            assert isinstance(json.loads(item.data.decode(errors="replace")), dict)


def check_fault(fault: Fault) -> None:
    assert fault.outcome
    assert 400 <= fault.error.status < 600


def targets() -> dict[str, tuple[Target, list[bytes]]]:
    """Every decoder by name, with the good bytes to begin from."""
    found: dict[str, tuple[Target, list[bytes]]] = {}
    for kind, samples in SAMPLES.items():
        streams = [samples.stream, samples.tool_stream, samples.error_in_stream]
        found[f"{kind} stream"] = stream_of(kind, streamed(usage=True)), streams
        found[f"{kind} answer"] = answer_of(kind, chat()), [samples.answer, samples.tool_answer]
        if samples.embeddings:
            found[f"{kind} embeddings"] = answer_of(kind, embeddings()), [samples.embeddings]
        found[f"{kind} error"] = fault_of(kind), [samples.error]
    return found | {"inflate": (inflated, compressed())}


def compressed() -> list[bytes]:
    text = b'{"a":"' + b"x" * 3000 + b'"}'
    return [gzip.compress(text), zlib.compress(text), gzip.compress(b"\0" * 4_000_000), text]


class Finding(Exception):
    """A decoder did what it must not. The text tells how to repeat it."""


def one(name: str, target: Target, corpus: list[bytes], seed: int, *, weigh: bool = False) -> None:
    """One round. Raises ``Finding``."""
    rng = random.Random(f"{name} {seed}")
    data = damage(rng.choice(corpus), rng)
    if weigh:
        tracemalloc.start()
    try:
        target(data, rng)
        if weigh and (peak := tracemalloc.get_traced_memory()[1]) > SPARE + FACTOR * len(data):
            raise Finding(f"{name}: {peak} bytes of memory for {len(data)} bytes; seed {seed}")
    except Finding:
        raise
    except BaseException as error:
        where = "".join(traceback.format_exception(error)[-3:])
        raise Finding(
            f"{name}: {error!r}; repeat with --only '{name}' --seed {seed} --rounds 1\n{where}"
        ) from error
    finally:
        if weigh:
            tracemalloc.stop()


def run(
    seconds: float,
    first_seed: int,
    only: str | None = None,
    rounds: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, int]:
    """Round after round over all decoders until the time or the rounds are over; rounds made by name."""
    chosen = {name: each for name, each in targets().items() if only in (None, name)}
    if not chosen:
        raise SystemExit(f"no such decoder: {only}; there are: {', '.join(targets())}")
    made = dict.fromkeys(chosen, 0)
    end, seed = clock() + seconds, first_seed
    while clock() < end and (rounds is None or seed < first_seed + rounds):
        for name, (target, corpus) in chosen.items():
            one(name, target, corpus, seed, weigh=seed % WEIGHED == 0)
            made[name] += 1
        seed += 1
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="the first round's (default: another one each time)")
    parser.add_argument("--only", help="one decoder, by the name that is printed")
    parser.add_argument("--rounds", type=int, help="at most so many for each decoder")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"fuzzing for {args.seconds:g} s from seed {seed}", flush=True)
    try:
        made = run(args.seconds, seed, args.only, args.rounds)
    except Finding as finding:
        print(f"FOUND  {finding}")
        return 1
    for name, rounds in made.items():
        print(f"  {name:28} {rounds:9,} rounds, nothing found")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
