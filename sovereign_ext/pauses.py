"""How long to wait before something that failed is tried again: twice as long each time, up to a limit, with jitter.

Only the arithmetic: clock, randomness and waiting are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds to wait after the first failure and at most."""

    first_s: float = 1.0
    longest_s: float = 600.0

    def after(self, attempts: int, jitter: float) -> float:
        """The pause after ``attempts`` failures; ``jitter`` in [0, 1) takes up to half of it away."""
        doubled: float = self.first_s * 2.0 ** min(attempts - 1, 40)
        return min(doubled, self.longest_s) * (1 - jitter / 2)


USUAL: Final = Pauses()
"""One second, and ten minutes."""
