"""Where on Vertex AI a model is asked: by project, location and publisher, under the provider's endpoint.

Source: Vertex AI's REST reference (v1). An endpoint may end in the API's version (``v1``, ``v1beta1``); else it is v1.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from sovereign_ext.config.model import Google
from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import Target

_VERSIONED: Final = re.compile(r"/v1(beta1)?/?$")


def google_of(target: Target) -> Google:
    """The provider's project and location; the configuration was checked for it."""
    if target.provider.google is None:
        raise TypeError("a provider of kind vertex has google")
    return target.provider.google


def place(target: Target, publisher: str, model: str, method: str) -> tuple[str, str]:
    """``(authority, path)`` of a method of a publisher's model, or of an ``endpoints/…`` with a tuned one."""
    google = google_of(target)
    if model.startswith("endpoints/"):
        resource = f"endpoints/{quote(model.removeprefix('endpoints/'), safe='')}"
    else:
        resource = f"publishers/{publisher}/models/{quote(model, safe='@')}"
    version = "" if _VERSIONED.search(target.provider.endpoint) else "/v1"
    above = f"{version}/projects/{quote(google.project, safe=':')}/locations/{google.location}"
    return _shared.place(target, f"{above}/{resource}:{method}")
