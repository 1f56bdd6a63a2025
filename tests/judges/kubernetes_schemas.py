"""Kubernetes' own schemas judge manifests: `kubernetes-validate` with the schemas that it brings of each release.

Run in the judges' environment. Reads one JSON object per line, with a manifest and a release of Kubernetes, and
answers each with one: what is wrong, the empty text if nothing is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import kubernetes_validate


def answer(manifest: dict[str, Any], release: str) -> str:
    """Strict: a field that Kubernetes does not know is wrong."""
    try:
        found = kubernetes_validate.validate(manifest, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(str(each) for each in error.path)}: {error.message}"
    return "" if found == release else f"judged by {found}, not by {release}"


for line in sys.stdin:
    question = json.loads(line)
    question.pop("ask")
    try:
        reply = {"answer": answer(**question)}
    except Exception as error:
        reply = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
