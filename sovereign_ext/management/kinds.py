"""What the generic methods must know of a kind of resource: its names, its message, its model, who may see which.

A ``Kind`` joins the message of the contract with the model of ``config`` that checks it. Their fields have the same
names, so the codec is the same for all of them: protobuf's JSON mapping on one side, pydantic's on the other. What the
contract marks as OUTPUT_ONLY or IDENTIFIER, and ``etag``, is not part of the document. Values only: no IO but in the
two hooks that ask about others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from google.api import field_behavior_pb2
from google.protobuf.json_format import Error, MessageToDict, ParseDict
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from sovereign_ext.canonical import MAX_SAFE_INTEGER
from sovereign_ext.config.reasons import path_of, reason_of
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.yamltree import Tree, dotted
from sovereign_ext.errors import CallerError, InvalidFields
from sovereign_ext.management.auth import Caller
from sovereign_ext.storage.resources import Resource, Write

ModelT = TypeVar("ModelT", bound=BaseModel)
Faults = Sequence[tuple[str, str]]
"""Dotted paths, and what is wrong there."""

MAX_NAME_CHARS: Final = 400
_NOT_THE_CALLERS: Final = {field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IDENTIFIER}


class Kind(Generic[ModelT]):
    """One kind of resource. Subclasses give the class variables and override what differs.

    ``noun`` is the field of requests (``tenant``), the kind of rows and part of codes (``tenant_not_found``);
    ``plural`` the field of lists. ``pattern`` is the name's, as the contract has it. ``hidden`` are members of the
    model that the message does not have: they are never shown and not in digests. ``history`` keeps every version.
    """

    noun: ClassVar[str]
    plural: ClassVar[str]
    pattern: ClassVar[str]
    message: ClassVar[type[Message]]
    model: ClassVar[type[BaseModel]]
    hidden: ClassVar[frozenset[str]] = frozenset()
    history: ClassVar[bool] = False
    parent: ClassVar[type[Kind[Any]] | None] = None

    # -- hooks ---------------------------------------------------------------------------------------------

    def declared(self, snapshot: Snapshot) -> Mapping[str, ModelT]:
        """What the configuration file has of this kind, by name."""
        return {}

    def only(self, caller: Caller) -> Collection[str] | None:
        """The names that the caller may see at most; ``None`` for all that its tenant owns, or that nobody does."""
        return None

    async def faults(self, caller: Caller, name: str, model: ModelT) -> Faults:
        """What is wrong with a model that is valid by itself: references to what is not there."""
        return ()

    async def users(self, caller: Caller, name: str) -> Sequence[str]:
        """Who would refer to nothing if ``name`` were deleted, for the message."""
        return ()

    def guard(self, caller: Caller, name: str, after: ModelT | None) -> Write | None:
        """What must still hold in the transaction of the change, see ``references``: all that ``faults`` and ``users``
        ask of other resources of the database. ``after`` is ``None`` for a deletion."""
        return None

    def shown(self, caller: Caller, message: Message) -> None:
        """Take out of an answer what the caller's role does not see, or add what is not in the document."""

    # -- names ---------------------------------------------------------------------------------------------

    def ids(self, name: str) -> tuple[str, ...]:
        """The ids in a name. Raises 400 ``invalid_name``."""
        match = _expression(self.pattern).fullmatch(name) if len(name) <= MAX_NAME_CHARS else None
        if match is None:
            raise CallerError(400, f"expected {self.pattern}", code="invalid_name")
        return match.groups()

    def owner(self, name: str) -> str:
        """The tenant that ``name`` belongs to; empty for none."""
        return self.ids(name)[0] if self.pattern.startswith("tenants/{") else ""

    def visible(self, caller: Caller, name: str) -> bool:
        """Whether the caller may learn whether ``name`` exists, by the name alone: nothing is looked up."""
        owner, only = self.owner(name), self.only(caller)
        return (not owner or caller.owns(owner)) and (only is None or name in only)

    def missing(self) -> CallerError:
        """The answer for what is not there, and for what the caller may not see."""
        noun = self.noun.replace("_", " ")
        return CallerError(404, f"there is no such {noun}", code=f"{self.noun}_not_found")

    def collection(self, parent: str) -> str:
        """What the names of the resources below ``parent`` begin with, without the last slash."""
        last = self.pattern[: self.pattern.rindex("/{")].rsplit("/", 1)[-1]
        return f"{parent}/{last}" if parent else last

    # -- codec ---------------------------------------------------------------------------------------------

    def read(self, message: Message, name: str) -> ModelT:
        """The model of what a caller sent. Raises ``InvalidFields`` with every fault."""
        return self.checked({**self.sent(message), "id": self.ids(name)[-1]})

    def sent(self, message: Message, more: Collection[str] = ()) -> dict[str, Any]:
        """What a caller sent, as JSON has it, of the fields that callers set, and of ``more``.

        Raises ``InvalidFields`` for a time that JSON does not have.
        """
        members, faults = {*settable(self.message.DESCRIPTOR), *more}, []
        found: dict[str, Any] = {}
        for field, value in message.ListFields():
            if field.name not in members:
                continue
            alone = type(message)()
            if field.is_repeated:
                getattr(alone, field.name).MergeFrom(value)
            elif field.message_type is not None:
                getattr(alone, field.name).CopyFrom(value)
            else:
                setattr(alone, field.name, value)
            try:
                found |= MessageToDict(alone, preserving_proto_field_name=True)
            except (ValueError, Error):
                faults.append((f"{self.noun}.{field.name}", "is out of range"))
        if faults:
            raise InvalidFields(faults)
        return found

    def checked(self, data: Mapping[str, Any]) -> ModelT:
        """``data`` as a model. Raises ``InvalidFields``."""
        try:
            model = self.model.model_validate(data)
        except ValidationError as error:
            tree = Tree(data)
            faults = []
            for detail in error.errors(include_url=False, include_input=False):
                path = path_of(detail, data)
                place = f"{self.noun}_id" if path == ("id",) else ".".join((self.noun, dotted(path)))
                faults.append((place.rstrip("."), reason_of(detail, path, tree)))
            raise InvalidFields(faults) from None
        beyond = [
            (place, "is beyond what JSON numbers hold exactly")
            for place in _inexact(model.model_dump(), self.noun)
        ]
        if beyond:
            raise InvalidFields(beyond)
        return model  # type: ignore[return-value]

    def write(self, model: BaseModel) -> Message:
        """The message of a model, without what is output only."""
        data = model.model_dump(mode="json", exclude={"id", *self.hidden}, exclude_none=True)
        return ParseDict(data, self.message())

    def document(self, model: BaseModel) -> dict[str, Any]:
        """The whole model as a JSON object, as it is stored."""
        return model.model_dump(mode="json")

    def public(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a document that the API shows and entries have the digest of."""
        return {member: value for member, value in document.items() if member not in self.hidden}

    def stored(self, row: Resource) -> ModelT:
        """The model of a row."""
        return self.model.model_validate(json.loads(row.document))  # type: ignore[return-value]


def _inexact(value: Any, place: str) -> Iterator[str]:
    """Where integers are that have no canonical JSON form (``canonical``), so that no entry could name them."""
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from _inexact(inner, f"{place}.{member}")
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _inexact(inner, f"{place}[{at}]")
    elif isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        yield place


def settable(descriptor: Any) -> frozenset[str]:
    """The fields of a resource's message that callers set."""
    found = {
        field.name
        for field in descriptor.fields
        if not _NOT_THE_CALLERS & set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])
    }
    return frozenset(found - {"etag"})


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", pattern)
    segment, rest = r"([^/\x00-\x1f\x7f]+)", r"([^\x00-\x1f\x7f]+)"
    return re.compile(
        "".join(
            (rest if part.endswith("=**}") else segment) if part.startswith("{") else re.escape(part)
            for part in parts
        )
    )
