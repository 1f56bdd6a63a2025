"""Every rule there is. Adding one is a file in ``rules`` and a line here; the contract test picks it up.

The order is the order in which failures are listed, nothing else: all rules that apply are always asked.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.policy.rules.base import Rule
from sovereign_ext.policy.rules.capability import CapabilityRule
from sovereign_ext.policy.rules.condition import ConditionRule
from sovereign_ext.policy.rules.cost import CostRule
from sovereign_ext.policy.rules.data_handling import DataHandlingRule
from sovereign_ext.policy.rules.drift import DriftRule
from sovereign_ext.policy.rules.latency import LatencyRule
from sovereign_ext.policy.rules.origin import OriginRule
from sovereign_ext.policy.rules.provider import ProviderRule
from sovereign_ext.policy.rules.scopes import ScopesRule
from sovereign_ext.policy.rules.tier import TierRule

RULES: Final[tuple[Rule, ...]] = (
    ProviderRule(),
    CapabilityRule(),
    TierRule(),
    ScopesRule(),
    OriginRule(),
    DriftRule(),
    LatencyRule(),
    CostRule(),
    DataHandlingRule(),
    ConditionRule(),
)
