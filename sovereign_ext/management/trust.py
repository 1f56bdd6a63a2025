"""Who may sign what, as resources: publishers, witnesses, observers. What they signed is in ``statements``."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sovereign_ext._gen.sovereign.management.v1 import trust_pb2
from sovereign_ext.config.trust import Signatory, Witness
from sovereign_ext.management.configured import ConfigKind

SERVICES: Final = trust_pb2.DESCRIPTOR.services_by_name


class PublisherKind(ConfigKind[Signatory]):
    """``publishers/{publisher}``."""

    noun = "publisher"
    plural = "publishers"
    pattern = "publishers/{publisher}"
    message = trust_pb2.Publisher
    model: ClassVar = Signatory


class WitnessKind(ConfigKind[Witness]):
    """``witnesses/{witness}``."""

    noun = "witness"
    plural = "witnesses"
    pattern = "witnesses/{witness}"
    message = trust_pb2.Witness
    model: ClassVar = Witness


class ObserverKind(ConfigKind[Signatory]):
    """``observers/{observer}``."""

    noun = "observer"
    plural = "observers"
    pattern = "observers/{observer}"
    message = trust_pb2.Observer
    model: ClassVar = Signatory


KINDS: Final[dict[str, type[ConfigKind[Any]]]] = {
    "PublisherService": PublisherKind,
    "WitnessService": WitnessKind,
    "ObserverService": ObserverKind,
}
"""By the service's name in the contract."""
