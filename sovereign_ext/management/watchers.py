"""Who watches the log, as resources: mirrors and anchors, and how it goes with each.

The status is that of the process which answers: of several replicas one asks and anchors, the others know little.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from google.protobuf.message import Message

from sovereign_ext._gen.sovereign.management.v1 import watchers_pb2
from sovereign_ext.config.trust import Anchor, Mirror
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.configured import ConfigKind, ConfigService, DerivedName, DerivedService
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage.resources import Resource

SERVICES: Final = watchers_pb2.DESCRIPTOR.services_by_name


class MirrorKind(DerivedName[Mirror]):
    """``mirrors/{id of its key}``."""

    noun = "mirror"
    plural = "mirrors"
    pattern = "mirrors/{mirror}"
    message = watchers_pb2.LogMirror
    model: ClassVar = Mirror
    given = "key"


class AnchorKind(ConfigKind[Anchor]):
    """``anchors/{anchor}``."""

    noun = "anchor"
    plural = "anchors"
    pattern = "anchors/{anchor}"
    message = watchers_pb2.LogAnchor
    model: ClassVar = Anchor


class MirrorService(DerivedService[Mirror]):
    """Shows what each last cosigned."""

    def shown(self, caller: Caller, name: str, model: Mirror, row: Resource | None) -> Message:
        """A mirror with its status."""
        message: Any = super().shown(caller, name, model, row)
        called = model.key.split("+")[0]
        for status in self.deps.log.witnesses():
            if status.name == called and status.url == model.url.rstrip("/"):
                message.status.size = status.size
                if status.size:
                    message.status.time.FromSeconds(status.time_s)
                if caller.is_admin:
                    message.status.last_error = status.last_error or ""
        return message  # type: ignore[no-any-return]


class AnchorService(ConfigService[Anchor]):
    """Shows what each holds."""

    async def get(self, request: Any, call: Call) -> Reply:
        """One anchor with its status."""
        return await self._with_status(await super().get(request, call), call)

    async def list(self, request: Any, call: Call) -> Reply:
        """One page of anchors with their status."""
        return await self._with_status(await super().list(request, call), call)

    async def _with_status(self, reply: Reply, call: Call) -> Reply:
        known = {status.id: status for status in await self.deps.anchors()}
        message: Any = reply.message
        for anchor in getattr(message, "anchors", (message,)):
            status = known.get(anchor.name.removeprefix("anchors/"))
            if status is None:
                continue
            anchor.status.size, anchor.status.queued = status.anchored_size, status.queued
            if status.anchored_ms is not None:
                anchor.status.time.FromMilliseconds(status.anchored_ms)
            if call.caller.is_admin:
                anchor.status.last_error = status.last_error or ""
        return reply


def mirrors(deps: Deps) -> Methods:
    """The methods of ``MirrorService``."""
    return MirrorService(MirrorKind, SERVICES["MirrorService"], deps).methods()


def anchors(deps: Deps) -> Methods:
    """The methods of ``AnchorService``."""
    return AnchorService(AnchorKind, SERVICES["AnchorService"], deps).methods()
