"""The makers of all kinds as one: credentials, look-alikes, and what stands beside those that count only there."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import makers_more
import makers_six

Make = Callable[[random.Random], bytes]
Beside = Callable[[random.Random], tuple[bytes, bytes]]


def _any(settings: Sequence[Beside]) -> Beside:
    return lambda rng: rng.choice(settings)(rng)


MAKERS: Final[Mapping[str, Make]] = {**makers_six.MAKERS, **makers_more.MAKERS}
NEAR_MISSES: Final[Mapping[str, list[Make]]] = {**makers_six.NEAR_MISSES, **makers_more.NEAR_MISSES}
SETTINGS: Final[Mapping[str, Beside]] = {
    kind: _any(settings)
    for settings_of in (makers_six.SETTINGS, makers_more.SETTINGS)
    for kind, settings in settings_of.items()
}
"""What must stand right before and after a credential."""
