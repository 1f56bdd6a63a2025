"""Every rule there is. Adding one is a file in ``rules`` and a line here; the contract test picks it up.

The order is the order in which failures are listed, nothing else: all rules are always asked.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.policy.rules.base import Rule
from sovereign_ext.policy.rules.capability import CapabilityRule
from sovereign_ext.policy.rules.provider import ProviderRule
from sovereign_ext.policy.rules.tier import TierRule

RULES: Final[tuple[Rule, ...]] = (
    ProviderRule(),
    CapabilityRule(),
    TierRule(),
)
