"""Kubernetes' own schemas judge manifests: `kubernetes-validate` with the schemas that it brings of each release.

Run in the judges' environment; asked and answered as ``answering`` says.
"""

from __future__ import annotations

from typing import Any

import kubernetes_validate
from answering import answer


def validate(manifest: dict[str, Any], release: str) -> str:
    """What is wrong, the empty text if nothing is. Strict: a field that Kubernetes does not know is wrong."""
    try:
        found = kubernetes_validate.validate(manifest, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(str(each) for each in error.path)}: {error.message}"
    return "" if found == release else f"judged by {found}, not by {release}"


answer({"validate": validate})
