"""What a provider that speaks another wire does with each of OpenAI's parameters: data, for code and for docs.

A parameter that would change the answer and is not to be had is refused by name; one that hardly would is left out
and named in a response header (``x-sf-dropped-parameters``). A parameter that OpenAI does not know either is
refused: what it would do cannot be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import unsupported
from sovereign_ext.openai.parameters import KNOWN, in_effect
from sovereign_ext.openai.request import Request


class Treatment(StrEnum):
    """What becomes of a parameter."""

    MAPPED = "mapped"
    APPROXIMATED = "approximated"  # the provider has something like it; the adapter's documentation says what
    REFUSED = "refused"  # 400 naming it
    DROPPED = "dropped"  # left out and named in a response header


Support = Mapping[str, Treatment]
"""By parameter; each of ``parameters.KNOWN`` must be there."""

EVERYWHERE: Final[Support] = {
    "model": Treatment.MAPPED,
    "messages": Treatment.MAPPED,
    "stream": Treatment.MAPPED,
    "stream_options": Treatment.MAPPED,
    "max_tokens": Treatment.MAPPED,
    "max_completion_tokens": Treatment.MAPPED,
    "temperature": Treatment.MAPPED,
    "top_p": Treatment.MAPPED,
    "top_k": Treatment.MAPPED,
    "stop": Treatment.MAPPED,
    "tools": Treatment.MAPPED,
    "tool_choice": Treatment.MAPPED,
    "functions": Treatment.MAPPED,
    "function_call": Treatment.MAPPED,
    "prediction": Treatment.REFUSED,
    "audio": Treatment.REFUSED,
    "modalities": Treatment.REFUSED,
    "moderation": Treatment.REFUSED,
    "web_search_options": Treatment.REFUSED,
    "store": Treatment.DROPPED,
    "metadata": Treatment.DROPPED,
    "verbosity": Treatment.DROPPED,
    "prompt_cache_key": Treatment.DROPPED,
    "prompt_cache_options": Treatment.DROPPED,
    "prompt_cache_retention": Treatment.DROPPED,
    "safety_identifier": Treatment.DROPPED,
    "user": Treatment.DROPPED,
}
"""What is the same for all translated providers, unless their own table says otherwise."""

PASSED_ON: Final[Support] = dict.fromkeys(sorted(KNOWN), Treatment.MAPPED)
"""Of providers that speak OpenAI's own wire: everything goes on as it came, and so does what nobody knows."""


def support(**own: Treatment) -> Support:
    """A provider's whole table from what is its own. Raises ``ValueError`` if a parameter is left open."""
    table = {**EVERYWHERE, **own}
    if table.keys() != KNOWN:
        raise ValueError(f"not settled or not known: {sorted(table.keys() ^ KNOWN)}")
    return table


def review(request: Request, table: Support) -> tuple[str, ...]:
    """The parameters of a chat request that are dropped, in its order. Raises ``CallerError`` for one that is refused
    or unknown."""
    dropped = []
    for name in in_effect(request.values):
        treatment = table.get(name)
        if treatment is None:
            raise CallerError(
                400, f"Unrecognized request argument supplied: {name[:200]}",
                param=name[:200], code="unknown_parameter",
            )  # fmt: skip
        if treatment is Treatment.REFUSED:
            raise unsupported(name)
        if treatment is Treatment.DROPPED:
            dropped.append(name)
    return tuple(dropped)
