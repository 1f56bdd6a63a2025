"""Every detector there is. A new one is a file and a line here.

The order is the precedence: where two find the same bytes, the first is named.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.detectors.anthropic import ANTHROPIC
from sovereign_ext.scanner.detectors.aws import AWS
from sovereign_ext.scanner.detectors.azure import AZURE
from sovereign_ext.scanner.detectors.azure_keys import AZURE_KEYS
from sovereign_ext.scanner.detectors.connection_string import CONNECTION_STRING
from sovereign_ext.scanner.detectors.github import GITHUB
from sovereign_ext.scanner.detectors.gitlab import GITLAB
from sovereign_ext.scanner.detectors.google import GOOGLE
from sovereign_ext.scanner.detectors.huggingface import HUGGINGFACE
from sovereign_ext.scanner.detectors.jwt import JWT
from sovereign_ext.scanner.detectors.npm import NPM
from sovereign_ext.scanner.detectors.openai import OPENAI
from sovereign_ext.scanner.detectors.private_key import PRIVATE_KEY
from sovereign_ext.scanner.detectors.pypi import PYPI
from sovereign_ext.scanner.detectors.router import ROUTER
from sovereign_ext.scanner.detectors.slack import SLACK
from sovereign_ext.scanner.detectors.stripe import STRIPE

DETECTORS: Final[tuple[Detector, ...]] = (
    *ROUTER,
    *OPENAI,
    *ANTHROPIC,
    *AWS,
    *GITHUB,
    *SLACK,
    *STRIPE,
    *GOOGLE,
    *AZURE,
    *AZURE_KEYS,
    *PRIVATE_KEY,
    *GITLAB,
    *JWT,
    *NPM,
    *PYPI,
    *HUGGINGFACE,
    *CONNECTION_STRING,
)
