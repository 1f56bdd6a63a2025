"""How a judge that stays answers: one question a line on standard input, one answer a line on standard output.

So that a test may ask thousands of questions of one process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer(asked: Mapping[str, Callable[..., Any]]) -> None:
    """Until the input ends, ``{"ask": NAME, …}`` calls ``asked[NAME]`` with the rest.

    It is answered with ``{"answer": …}``, or with ``{"failed": TEXT}``: whatever it raises is the judge's verdict.
    """
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = {"answer": asked[question.pop("ask")](**question)}
        except Exception as error:
            said = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(said, default=str), flush=True)
