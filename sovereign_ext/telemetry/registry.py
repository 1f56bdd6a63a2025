"""Every family of metrics. A new one is a module in ``families`` and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sovereign_ext.telemetry.families.attempts import Attempts
from sovereign_ext.telemetry.families.base import Family, Making
from sovereign_ext.telemetry.families.calls import Calls
from sovereign_ext.telemetry.families.configuration import Configuration
from sovereign_ext.telemetry.families.deployments import Deployments
from sovereign_ext.telemetry.families.findings import Findings
from sovereign_ext.telemetry.families.limits import Limits
from sovereign_ext.telemetry.families.log import Log
from sovereign_ext.telemetry.families.process import Process
from sovereign_ext.telemetry.families.usage import Usage

FAMILIES: Final[tuple[Callable[[Making], Family], ...]] = (
    Calls,
    Attempts,
    Usage,
    Findings,
    Limits,
    Log,
    Configuration,
    Deployments,
    Process,
)
