"""Texts that stand in several pieces: neighbouring text parts of a ``content`` array, which the model reads as one.

A run is what stands in one array, part beside part. A part that is not text ends it, and so does the end of the message.
Source: OpenAI API reference, chat completions (2026): ``messages[].content[]``, ``prediction.content[]``.
"""

from __future__ import annotations

from sovereign_ext.scanner.places import Places, Raw


def may_have_runs(body: bytes) -> bool:
    """Whether ``text_runs`` could find any: a few searches for literals. Never wrong when it says no."""
    raise NotImplementedError


def text_runs(places: Places) -> list[tuple[Raw, ...]]:
    """For each run of two or more neighbouring text parts the contents of their strings, in order.

    A run's strings may be empty; they belong to it all the same. Raw bytes: escapes are not undone.
    """
    raise NotImplementedError
