from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from sovereign_ext._gen.sovereign.management.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "digest", "document")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    document: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., document: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class EvaluatePolicyRequest(_message.Message):
    __slots__ = ("name", "model", "capability", "prompt_tokens", "max_tokens", "request", "tenant")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    capability: str
    prompt_tokens: int
    max_tokens: int
    request: _struct_pb2.Struct
    tenant: str
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., capability: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ..., request: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tenant: _Optional[str] = ...) -> None: ...

class EvaluatePolicyResponse(_message.Message):
    __slots__ = ("policy", "policy_digest", "model", "request", "deployments", "order", "refusal", "shadows")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    SHADOWS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    policy_digest: str
    model: str
    request: RequestSize
    deployments: _containers.RepeatedCompositeFieldContainer[EvaluatedDeployment]
    order: _containers.RepeatedScalarFieldContainer[str]
    refusal: Refusal
    shadows: _containers.RepeatedCompositeFieldContainer[Shadow]
    def __init__(self, policy: _Optional[str] = ..., policy_digest: _Optional[str] = ..., model: _Optional[str] = ..., request: _Optional[_Union[RequestSize, _Mapping]] = ..., deployments: _Optional[_Iterable[_Union[EvaluatedDeployment, _Mapping]]] = ..., order: _Optional[_Iterable[str]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., shadows: _Optional[_Iterable[_Union[Shadow, _Mapping]]] = ...) -> None: ...

class RequestSize(_message.Message):
    __slots__ = ("capability", "prompt_tokens", "max_tokens")
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    capability: str
    prompt_tokens: int
    max_tokens: int
    def __init__(self, capability: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class EvaluatedDeployment(_message.Message):
    __slots__ = ("deployment", "provider", "eligible", "failed", "skipped", "tier", "tier_reasons", "scopes", "drift", "p95_ms", "cost_nano_usd")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TIER_REASONS_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    provider: str
    eligible: bool
    failed: _containers.RepeatedCompositeFieldContainer[FailedRule]
    skipped: str
    tier: str
    tier_reasons: _containers.RepeatedScalarFieldContainer[str]
    scopes: _containers.RepeatedScalarFieldContainer[str]
    drift: str
    p95_ms: int
    cost_nano_usd: int
    def __init__(self, deployment: _Optional[str] = ..., provider: _Optional[str] = ..., eligible: _Optional[bool] = ..., failed: _Optional[_Iterable[_Union[FailedRule, _Mapping]]] = ..., skipped: _Optional[str] = ..., tier: _Optional[str] = ..., tier_reasons: _Optional[_Iterable[str]] = ..., scopes: _Optional[_Iterable[str]] = ..., drift: _Optional[str] = ..., p95_ms: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class FailedRule(_message.Message):
    __slots__ = ("rule", "expected", "actual")
    RULE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    rule: str
    expected: str
    actual: str
    def __init__(self, rule: _Optional[str] = ..., expected: _Optional[str] = ..., actual: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("status", "code", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: int
    code: str
    message: str
    def __init__(self, status: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Shadow(_message.Message):
    __slots__ = ("policy", "policy_digest", "eligible", "rejected", "plan_changes")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    PLAN_CHANGES_FIELD_NUMBER: _ClassVar[int]
    policy: str
    policy_digest: str
    eligible: _containers.RepeatedScalarFieldContainer[str]
    rejected: _containers.RepeatedCompositeFieldContainer[ShadowRejection]
    plan_changes: bool
    def __init__(self, policy: _Optional[str] = ..., policy_digest: _Optional[str] = ..., eligible: _Optional[_Iterable[str]] = ..., rejected: _Optional[_Iterable[_Union[ShadowRejection, _Mapping]]] = ..., plan_changes: _Optional[bool] = ...) -> None: ...

class ShadowRejection(_message.Message):
    __slots__ = ("deployment", "rules")
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    deployment: str
    rules: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, deployment: _Optional[str] = ..., rules: _Optional[_Iterable[str]] = ...) -> None: ...
