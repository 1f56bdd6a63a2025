"""Models as a resource: ``sovereign.management.v1.ModelService``. Ids may hold slashes and colons."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sovereign_ext._gen.sovereign.management.v1 import models_pb2
from sovereign_ext.config.model import Model
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.configured import ConfigKind

SERVICE: Final = models_pb2.DESCRIPTOR.services_by_name["ModelService"]


class ModelKind(ConfigKind[Model]):
    """``models/{model}``."""

    noun = "model"
    plural = "models"
    pattern = "models/{model=**}"
    message = models_pb2.Model
    model = Model

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees what its policies could route to."""
        if caller.tenant is None:
            return None
        return [f"models/{model}" for model in caller.snapshot.visible(caller.tenant.policies).ids]

    def visible(self, caller: Caller, name: str) -> bool:
        """As ``only`` says."""
        own = self.ids(name)[0]
        return caller.tenant is None or own in caller.snapshot.visible(caller.tenant.policies).ids
