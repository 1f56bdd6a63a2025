"""``bench`` is run from the checkout and not installed; its directory comes last, so that nothing is shadowed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
