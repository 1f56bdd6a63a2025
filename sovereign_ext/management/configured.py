"""Resources that are configuration: what all of their kinds have in common.

A change of one is checked as a change of the whole (``effective``) before it is committed, and refused with whatever
would be wrong, in this resource or in others. So a policy cannot name a provider that is not there, and a provider that
a policy names cannot be deleted. Nothing that names a file or a variable of the router's machine can be set here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel

from sovereign_ext.config.merge import BY_KIND, Change, name_of
from sovereign_ext.config.model import Config
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.effective import ConfigurationMoved
from sovereign_ext.errors import ConfigError, InvalidFields, ServiceError
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.changes import in_use
from sovereign_ext.management.kinds import Faults, Kind, ModelT
from sovereign_ext.management.resources import ResourceService
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.storage.resources import Write, together

if TYPE_CHECKING:
    from sovereign_ext.management.deps import Deps

WAIT_S: Final = 1.0
"""How long an answer waits for this process to use what was committed."""

_TRIES: Final = 5
"""How often a change is checked anew when other replicas are faster."""


class ConfigKind(Kind[ModelT]):
    """A kind that has a section in the file. ``deps`` are not needed to read names."""

    def __init__(self, deps: Deps | None = None) -> None:
        self._deps = deps
        self._declared: tuple[Snapshot, Mapping[str, ModelT]] | None = None

    @property
    def deps(self) -> Deps:
        """What the services work on."""
        assert self._deps is not None, "made for names only"
        return self._deps

    def items(self, config: Config) -> Iterable[ModelT]:
        """Everything of this kind in a configuration."""
        here: Any = config
        for step in BY_KIND[self.noun].path:
            here = getattr(here, step)
        return here  # type: ignore[no-any-return]

    def name(self, model: BaseModel) -> str:
        """The name of a model."""
        name = name_of(BY_KIND[self.noun], self.document(model))
        assert name is not None
        return name

    def declared(self, snapshot: Snapshot) -> Mapping[str, ModelT]:
        """What is in use and not the database's. Worked out once for a configuration: every name is looked up here."""
        if self._declared is None or self._declared[0] is not snapshot:
            named = ((self.name(item), item) for item in self.items(snapshot.config))
            found = {name: item for name, item in named if name not in snapshot.stored}
            self._declared = snapshot, found
        return self._declared[1]

    def visible(self, caller: Caller, name: str) -> bool:
        """As ``Kind``; what is no name is 400 for everybody."""
        self.ids(name)
        return super().visible(caller, name)

    def read(self, message: Message, name: str) -> ModelT:
        """As ``Kind``; what is output only is passed over in messages inside, too."""
        clean = type(message)()
        clean.CopyFrom(message)
        _drop_outputs(clean)
        return self.checked({**self.sent(clean), **self.from_name(name)})

    def from_name(self, name: str) -> dict[str, str]:
        """The members of the model that its name says."""
        return {"id": self.ids(name)[-1]}

    def document(self, model: BaseModel) -> dict[str, Any]:
        """An item of the section, as the file would have it."""
        return model.model_dump(mode="json", exclude_none=True)

    def change(self, name: str, model: ModelT | None) -> Change:
        """What is to become of ``name``."""
        return Change(name, self.noun, None if model is None else self.document(model))

    async def faults(self, caller: Caller, name: str, model: ModelT) -> Faults:
        """Everything that would be wrong with the whole."""
        try:
            await self.deps.effective.check(self.change(name, model))
        except ConfigError as error:
            return self.told(name, error)
        return ()

    async def users(self, caller: Caller, name: str) -> Sequence[str]:
        """Where something would be wrong without it."""
        try:
            await self.deps.effective.check(self.change(name, None))
        except ConfigError as error:
            return list(dict.fromkeys(_place(fault) for fault in error.faults))
        return ()

    def told(self, name: str, error: ConfigError) -> Faults:
        """Faults by the caller's own field, and by resource or place in the file where they are elsewhere."""
        return [
            (
                f"{self.noun}.{fault.field}".rstrip(".") if fault.file == name else _place(fault),
                fault.reason,
            )
            for fault in error.faults
        ]


class ConfigService(ResourceService[ModelT]):
    """The standard methods on a ``ConfigKind``.

    An answer means that the change is committed. It waits for this process to use it, for a second at most;
    ``GetConfig`` says when new calls go by it.
    """

    kind: ConfigKind[ModelT]

    def __init__(self, kind: type[ConfigKind[ModelT]], contract: ServiceDescriptor, deps: Deps) -> None:
        super().__init__(kind(deps), contract, deps.log.resources, deps.changes())
        self.deps = deps

    async def _make(
        self, call: Call, name: str, write: Write, after_model: ModelT | None, **documents: Any
    ) -> int:
        kind, deleted = self.kind, after_model is None
        for _ in range(_TRIES):
            try:
                async with self.deps.effective.proposed(kind.change(name, after_model)) as unmoved:
                    revision = await super()._make(
                        call, name, together(unmoved, write), after_model, **documents
                    )
                await self.deps.effective.used(revision, WAIT_S)
                return revision
            except ConfigurationMoved:
                continue
            except ConfigError as error:
                if deleted:
                    raise in_use(name, [_place(fault) for fault in error.faults]) from None
                raise InvalidFields(kind.told(name, error)) from None
        raise ServiceError(503, "too many changes at once", code="configuration_busy", retry_after_s=1)


class DerivedName(ConfigKind[ModelT]):
    """A kind whose names follow from what the resource is: there is nothing to choose."""

    given: ClassVar[str]
    """The field that the name follows from."""

    def read(self, message: Message, name: str) -> ModelT:
        """As ``Kind``; the field must be that of ``name``, unless that is empty."""
        model = super().read(message, name)
        if name and self.name(model) != name:
            raise InvalidFields(
                [(f"{self.noun}.{self.given}", "is that of another one; it cannot be changed")]
            )
        return model

    def from_name(self, name: str) -> dict[str, str]:
        """Nothing: the model has no id of its own."""
        return {}


class DerivedService(ConfigService[ModelT]):
    """Creates without an id."""

    async def create(self, request: Any, call: Call) -> Reply:
        """Make one; its name follows."""
        kind = self.kind
        model = kind.read(getattr(request, kind.noun), "")
        return await self.add(call, kind.name(model), model, validate_only=request.validate_only)


def standard(kind: type[ConfigKind[Any]], contract: ServiceDescriptor) -> Callable[[Deps], Methods]:
    """What makes the methods of a service that has the standard ones of ``kind`` and no others."""
    made = DerivedService if issubclass(kind, DerivedName) else ConfigService
    return lambda deps: made(kind, contract, deps).methods()


def _place(fault: ConfigError) -> str:
    return ": ".join(part for part in (fault.file, fault.field) if part)


def _drop_outputs(message: Message) -> None:
    for field, value in message.ListFields():
        behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY in behaviour:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.full_name.startswith("sovereign."):
            for inner in value if field.is_repeated else (value,):
                _drop_outputs(inner)
