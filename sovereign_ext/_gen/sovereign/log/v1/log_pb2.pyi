import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sovereign_ext._gen.sovereign.management.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetReceiptRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetLogRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTrustedRootRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLogKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTileRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("name", "origin", "log_id", "size", "published_size", "checkpoint_time", "healthy", "cosigners", "mirrors", "anchors", "role", "leader", "webhooks")
    class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ROLE_UNSPECIFIED: _ClassVar[Log.Role]
        SOLE: _ClassVar[Log.Role]
        LEADER: _ClassVar[Log.Role]
        FOLLOWER: _ClassVar[Log.Role]
    ROLE_UNSPECIFIED: Log.Role
    SOLE: Log.Role
    LEADER: Log.Role
    FOLLOWER: Log.Role
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_TIME_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    COSIGNERS_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    WEBHOOKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    origin: str
    log_id: str
    size: int
    published_size: int
    checkpoint_time: _timestamp_pb2.Timestamp
    healthy: bool
    cosigners: _containers.RepeatedCompositeFieldContainer[Cosigner]
    mirrors: _containers.RepeatedCompositeFieldContainer[Mirror]
    anchors: _containers.RepeatedCompositeFieldContainer[Anchor]
    role: Log.Role
    leader: str
    webhooks: _containers.RepeatedCompositeFieldContainer[Webhook]
    def __init__(self, name: _Optional[str] = ..., origin: _Optional[str] = ..., log_id: _Optional[str] = ..., size: _Optional[int] = ..., published_size: _Optional[int] = ..., checkpoint_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., healthy: _Optional[bool] = ..., cosigners: _Optional[_Iterable[_Union[Cosigner, _Mapping]]] = ..., mirrors: _Optional[_Iterable[_Union[Mirror, _Mapping]]] = ..., anchors: _Optional[_Iterable[_Union[Anchor, _Mapping]]] = ..., role: _Optional[_Union[Log.Role, str]] = ..., leader: _Optional[str] = ..., webhooks: _Optional[_Iterable[_Union[Webhook, _Mapping]]] = ...) -> None: ...

class Cosigner(_message.Message):
    __slots__ = ("name", "size", "time", "last_error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    time: _timestamp_pb2.Timestamp
    last_error: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ...) -> None: ...

class Anchor(_message.Message):
    __slots__ = ("id", "kind", "size", "time", "queued", "last_error")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    size: int
    time: _timestamp_pb2.Timestamp
    queued: int
    last_error: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., size: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queued: _Optional[int] = ..., last_error: _Optional[str] = ...) -> None: ...

class Webhook(_message.Message):
    __slots__ = ("id", "next_index", "waiting", "delivered", "given_up", "delivered_time", "attempts", "failing_since", "retry_time", "last_error", "gone_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_INDEX_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILING_SINCE_FIELD_NUMBER: _ClassVar[int]
    RETRY_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    GONE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    next_index: int
    waiting: int
    delivered: int
    given_up: int
    delivered_time: _timestamp_pb2.Timestamp
    attempts: int
    failing_since: _timestamp_pb2.Timestamp
    retry_time: _timestamp_pb2.Timestamp
    last_error: str
    gone_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., next_index: _Optional[int] = ..., waiting: _Optional[int] = ..., delivered: _Optional[int] = ..., given_up: _Optional[int] = ..., delivered_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[int] = ..., failing_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retry_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., gone_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Mirror(_message.Message):
    __slots__ = ("name", "size", "time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
