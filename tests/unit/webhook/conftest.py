"""Certificates for this host are made where the tests of evidence make them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "evidence"))
