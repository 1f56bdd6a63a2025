"""Every detector there is. A new one is a file and a line here.

The order is the precedence: where two find the same bytes, the first is named.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.scanner.base import Detector

DETECTORS: Final[tuple[Detector, ...]] = ()
