"""A process that rotates one key in a file as fast as it can, until it is killed: ``rotating_writer.py FILE``.

The key's text says which version it is. The master key is in ``MASTER``. Each version that is durable is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sovereign_ext.keystore.local import change
from sovereign_ext.keystore.masterkey import KeyFromEnvironment, MasterKey
from sovereign_ext.keystore.sealed import Record, seal
from sovereign_ext.secret import Secret


def edit(master: MasterKey, records: tuple[Record, ...]) -> tuple[Record, ...]:
    version = records[0].version + 1 if records else 1
    text = Secret(f"version-{version}-" + "x" * 20_000)
    new = seal(master, ("acme", "p"), text, version=version, set_s=version, nonce=os.urandom(12))
    print(version, flush=True)
    return (new,)


async def main() -> None:
    while True:
        await change(Path(sys.argv[1]), [KeyFromEnvironment("MASTER", os.environ)], edit)


if __name__ == "__main__":
    asyncio.run(main())
