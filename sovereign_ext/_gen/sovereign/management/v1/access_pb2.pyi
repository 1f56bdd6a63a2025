from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ADMIN: _ClassVar[Role]
    TENANT_ADMIN: _ClassVar[Role]
    AUDITOR: _ClassVar[Role]
    TENANT: _ClassVar[Role]
ROLE_UNSPECIFIED: Role
ADMIN: Role
TENANT_ADMIN: Role
AUDITOR: Role
TENANT: Role
ACCESS_FIELD_NUMBER: _ClassVar[int]
access: _descriptor.FieldDescriptor
PRODUCES_FIELD_NUMBER: _ClassVar[int]
produces: _descriptor.FieldDescriptor

class Access(_message.Message):
    __slots__ = ("public", "roles", "unbound")
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    UNBOUND_FIELD_NUMBER: _ClassVar[int]
    public: bool
    roles: _containers.RepeatedScalarFieldContainer[Role]
    unbound: bool
    def __init__(self, public: _Optional[bool] = ..., roles: _Optional[_Iterable[_Union[Role, str]]] = ..., unbound: _Optional[bool] = ...) -> None: ...
