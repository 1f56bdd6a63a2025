"""Which detectors look at a request: all of them, or those that a policy chooses by kind or family."""

from __future__ import annotations

from collections.abc import Iterable

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.registry import DETECTORS


def names() -> frozenset[str]:
    """Every kind and every family."""
    return frozenset(name for each in DETECTORS for name in (each.kind, each.family))


def select(detect: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Detector, ...]:
    """The detectors of the kinds and families in ``detect`` (all, if it is empty) without those in ``ignore``."""
    wanted, unwanted = frozenset(detect), frozenset(ignore)
    return tuple(
        each
        for each in DETECTORS
        if (not wanted or wanted & {each.kind, each.family}) and not unwanted & {each.kind, each.family}
    )
