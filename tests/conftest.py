"""Settings for the whole suite. Fixtures live next to the tests that use them."""

from __future__ import annotations

from hypothesis import settings

# The machine is shared and Envoy may be busy beside us: how long an example takes says nothing.
settings.register_profile("sovereign", deadline=None, print_blob=True)
settings.load_profile("sovereign")
