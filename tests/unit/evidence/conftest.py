"""Documents of Nitro enclaves are made where the tests of their verification are."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "registry"))
