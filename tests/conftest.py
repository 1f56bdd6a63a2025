"""Settings for the whole suite. Fixtures live next to the tests that use them."""

from __future__ import annotations

import os

from hypothesis import settings

# The machine is shared and Envoy may be busy beside us: how long an example takes says nothing.
# The same examples in every run, so that a red run is about the change; SOVEREIGN_FUZZ=1 looks for new ones.
settings.register_profile("repeatable", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile("fuzz" if os.environ.get("SOVEREIGN_FUZZ") else "repeatable")
