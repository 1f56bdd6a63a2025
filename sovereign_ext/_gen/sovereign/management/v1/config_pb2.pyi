from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from sovereign_ext._gen.sovereign.management.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Config(_message.Message):
    __slots__ = ("name", "version", "digest", "faults", "file_digest", "revision", "committed_revision", "shared_store")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    FILE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    SHARED_STORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    faults: _containers.RepeatedCompositeFieldContainer[Fault]
    file_digest: str
    revision: int
    committed_revision: int
    shared_store: SharedStore
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ..., faults: _Optional[_Iterable[_Union[Fault, _Mapping]]] = ..., file_digest: _Optional[str] = ..., revision: _Optional[int] = ..., committed_revision: _Optional[int] = ..., shared_store: _Optional[_Union[SharedStore, _Mapping]] = ...) -> None: ...

class SharedStore(_message.Message):
    __slots__ = ("reachable", "why", "server", "rebuilding_s", "routers", "held", "queued", "given_up", "swept", "warnings")
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    REBUILDING_S_FIELD_NUMBER: _ClassVar[int]
    ROUTERS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    SWEPT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    reachable: bool
    why: str
    server: str
    rebuilding_s: float
    routers: int
    held: int
    queued: int
    given_up: int
    swept: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reachable: _Optional[bool] = ..., why: _Optional[str] = ..., server: _Optional[str] = ..., rebuilding_s: _Optional[float] = ..., routers: _Optional[int] = ..., held: _Optional[int] = ..., queued: _Optional[int] = ..., given_up: _Optional[int] = ..., swept: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("line", "field", "reason", "resource")
    LINE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    line: int
    field: str
    reason: str
    resource: str
    def __init__(self, line: _Optional[int] = ..., field: _Optional[str] = ..., reason: _Optional[str] = ..., resource: _Optional[str] = ...) -> None: ...
