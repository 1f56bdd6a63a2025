"""Signs and verifies models with OpenSSF's model-signing package; run in the judges' environment.

Reads ``{"key", "public", "models": {name: {"path", "sign", "verify": [...]}}, "shard_size"}`` as JSON on stdin: signs
every model at ``path`` into ``sign`` and, sharded, into ``sign`` + ``.shards``, and verifies it with each signature of
``verify``. Writes ``{name: ["" or why not, ...]}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import model_signing


def hashing(path: Path, signature: Path) -> Any:
    """As the package's command does: the signature is no part of the model."""
    ignored = [signature.relative_to(path)] if signature.is_relative_to(path) else []
    return model_signing.hashing.Config().set_ignored_paths(paths=ignored)


def verified(path: Path, signature: str, public: str) -> str:
    try:
        verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
        if Path(signature).is_relative_to(path):
            verifying.set_hashing_config(hashing(path, Path(signature)))
        verifying.verify(path, Path(signature))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


given = json.load(sys.stdin)
results = {}
for name, model in given["models"].items():
    path = Path(model["path"])
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=given["key"])
    signing.set_hashing_config(hashing(path, Path(model["sign"]))).sign(path, Path(model["sign"]))
    sharded = model_signing.hashing.Config().use_shard_serialization(shard_size=given["shard_size"])
    signing.set_hashing_config(sharded).sign(path, Path(model["sign"] + ".shards"))
    results[name] = [verified(path, signature, given["public"]) for signature in model["verify"]]
json.dump(results, sys.stdout)
