"""The configuration in use: ``sovereign.management.v1.ConfigService``. It shows no key hash and no content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from sovereign_ext._gen.sovereign.management.v1 import config_pb2
from sovereign_ext.config.merge import names_a_resource
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.effective import Effective
from sovereign_ext.errors import ConfigError
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.shared.service import SharedStatus

_FRESH: Final = (("cache-control", "no-store"),)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The service. ``faults`` gives what is wrong with the file as it is now."""

    snapshot: Callable[[], Snapshot]
    faults: Callable[[], tuple[ConfigError, ...]]
    effective: Effective[Any]
    shared: Callable[[], SharedStatus | None]

    async def get_config(self, request: config_pb2.GetConfigRequest, call: Call) -> Reply:
        """Version and digest in use, and the faults of a newer file, for admins."""
        snapshot, in_use = self.snapshot(), self.effective.in_use
        config = config_pb2.Config(
            name="config",
            version=snapshot.version,
            digest=snapshot.digest,
            faults=[_fault(fault) for fault in (*self.faults(), *in_use.faults)],
            file_digest=in_use.loaded.file_digest,
            revision=in_use.revision,
            committed_revision=in_use.committed,
            shared_store=_store(self.shared()),
        )
        return Reply(config, _FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"GetConfig": self.get_config}


def _store(status: SharedStatus | None) -> config_pb2.SharedStore | None:
    return None if status is None else config_pb2.SharedStore(**asdict(status))


def _fault(fault: ConfigError) -> config_pb2.Fault:
    resource = fault.file if names_a_resource(fault.file) else ""
    return config_pb2.Fault(line=fault.line or 0, field=fault.field, reason=fault.reason, resource=resource)
