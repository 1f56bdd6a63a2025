"""Every position of a cut in every spelling of a stream: the client's bytes and their commitment are the same."""

from __future__ import annotations

import pytest
from exchange_world import DONE, FINISH, ROLE, SSE, TEXT, USAGE, Run, exchange

LINES = (ROLE + TEXT + TEXT + FINISH + USAGE + DONE).replace(b"\\u5317", "北🌍".encode())
COMMENTED = b": hello\n\n" + LINES.replace(b"data: ", b": \xf0\x9f\x8c\x8d\nid: 7\nretry: 9\ndata:")
NDJSON = (
    b'{"model":"m","message":{"role":"assistant","content":"\xe5\x8c\x97 "},"done":false}\n'
    b'{"model":"m","message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":"\xe4"}}}]}}\n'
    b'{"message":{"content":"\\ud83c\\udf0d"},"done":true,"done_reason":"stop","prompt_eval_count":7,'
    b'"eval_count":5}\n'
).replace(b"\xe4", "京".encode())

SPELLINGS = {
    "lf": (0, LINES),
    "crlf": (0, LINES.replace(b"\n", b"\r\n")),
    "cr": (0, LINES.replace(b"\n", b"\r")),
    "mixed": (0, LINES.replace(b"\n\n", b"\r\n\n")),
    "no-space": (0, LINES.replace(b"data: ", b"data:")),
    "byte-order-mark": (0, b"\xef\xbb\xbf" + LINES),
    "comments": (0, COMMENTED),
    "comments-crlf": (0, COMMENTED.replace(b"\n", b"\r\n")),
    "ndjson": (1, NDJSON),
    "ndjson-crlf": (1, NDJSON.replace(b"\n", b"\r\n")),
    "ndjson-unended": (1, NDJSON.removesuffix(b"\n")),
}


def delivered(number: int, *pieces: bytes) -> tuple[bytes, bytes | None]:
    """What the client gets, and the commitment to it. ``number`` is the deployment's place in the plan."""
    call = exchange(stream=True, stream_options={"include_usage": True})
    run = Run(call, number)
    run.head(200, SSE if number == 0 else {"content-type": "application/x-ndjson"})
    for piece in pieces:
        if run.facts is None:
            run.body(piece)
    if run.facts is None:
        run.body(end=True)
    assert run.facts is not None
    return run.out, run.facts.digests.delivered_response


@pytest.mark.services
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_cut_in_two(name: str):
    """One cut at each place, and every byte on its own."""
    number, stream = SPELLINGS[name]
    whole = delivered(number, stream)
    assert DONE in whole[0]
    assert "北".encode() in whole[0]
    assert "\ufffd".encode() not in whole[0]
    for at in range(1, len(stream)):
        assert delivered(number, stream[:at], stream[at:]) == whole, (
            f"cut at {at}: {stream[at - 20 : at + 20]!r}"
        )
    assert delivered(number, *(stream[at : at + 1] for at in range(len(stream)))) == whole


def test_spellings_give_one_answer():
    """What the lines end with and what stands between them is the provider's affair."""
    answers = {delivered(number, stream)[0] for number, stream in SPELLINGS.values() if number == 0}
    assert len(answers) == 1
