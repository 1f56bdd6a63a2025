"""Run once, at the demo's first start, as a process of its own: makes every key, signature and certificate.

Apart from the supervisor, which lives as long as the demo and shall not carry cryptography and configuration models
with it. Prints what the configuration has to say, as JSON.

    python -m sovereign_ext.cli.supervise.founding STATE_DIR ORIGIN MIRROR_NAME
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from sovereign_ext.attest.keys import load_or_create_keys
from sovereign_ext.cli.supervise import trustkit
from sovereign_ext.cli.supervise.layout import Layout
from sovereign_ext.mirror.identity import load_identity


def found(layout: Layout, origin: str, mirror_name: str) -> dict[str, str]:
    """Make everything that is not there yet. What a first start left that did not come to its end is made anew."""
    shutil.rmtree(layout.trust, ignore_errors=True)
    kit = trustkit.make(layout.trust, int(time.time()))
    mirror = load_identity(layout.mirror, mirror_name)
    log_keys = layout.root / "log" / "keys"
    log_keys.parent.mkdir(mode=0o700, exist_ok=True)
    return {
        "model_digest": kit.model_digest,
        "spki_pin": kit.spki_pin,
        "mirror_key": mirror.mirror.key.encode(),
        "mirror_witness_key": mirror.witness.key.encode(),
        "log_key": load_or_create_keys(log_keys).public(origin).log.encode(),
    }


if __name__ == "__main__":
    root = Path(sys.argv[1])
    print(json.dumps(found(Layout(root, root / "run"), *sys.argv[2:])))
