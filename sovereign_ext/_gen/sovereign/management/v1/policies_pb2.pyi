import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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

class CreatePolicyRequest(_message.Message):
    __slots__ = ("policy_id", "policy", "validate_only")
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    policy_id: str
    policy: Policy
    validate_only: bool
    def __init__(self, policy_id: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdatePolicyRequest(_message.Message):
    __slots__ = ("policy", "update_mask", "allow_missing", "validate_only")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    update_mask: _field_mask_pb2.FieldMask
    allow_missing: bool
    validate_only: bool
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeletePolicyRequest(_message.Message):
    __slots__ = ("name", "etag", "allow_missing", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    allow_missing: bool
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class ListPolicyVersionsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPolicyVersionsResponse(_message.Message):
    __slots__ = ("policy_versions", "next_page_token")
    POLICY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policy_versions: _containers.RepeatedCompositeFieldContainer[PolicyVersion]
    next_page_token: str
    def __init__(self, policy_versions: _Optional[_Iterable[_Union[PolicyVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPolicyVersionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RollbackPolicyRequest(_message.Message):
    __slots__ = ("name", "revision", "etag", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: str
    etag: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class PolicyVersion(_message.Message):
    __slots__ = ("name", "create_time", "policy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    create_time: _timestamp_pb2.Timestamp
    policy: Policy
    def __init__(self, name: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "digest", "document", "etag", "declared", "create_time", "update_time", "required_tier", "required_scopes", "allowed_origins", "max_drift", "latency_cap_ms", "cost_cap_usd", "data_handling", "condition", "providers", "fallback", "audit", "shadows", "redaction")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_TIER_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_SCOPES_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ORIGINS_FIELD_NUMBER: _ClassVar[int]
    MAX_DRIFT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_CAP_MS_FIELD_NUMBER: _ClassVar[int]
    COST_CAP_USD_FIELD_NUMBER: _ClassVar[int]
    DATA_HANDLING_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    SHADOWS_FIELD_NUMBER: _ClassVar[int]
    REDACTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    document: _struct_pb2.Struct
    etag: str
    declared: bool
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    required_tier: str
    required_scopes: _containers.RepeatedScalarFieldContainer[str]
    allowed_origins: _containers.RepeatedScalarFieldContainer[str]
    max_drift: str
    latency_cap_ms: int
    cost_cap_usd: str
    data_handling: DataRequirement
    condition: str
    providers: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    fallback: Fallback
    audit: str
    shadows: _containers.RepeatedScalarFieldContainer[str]
    redaction: Redaction
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., document: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ..., declared: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., required_tier: _Optional[str] = ..., required_scopes: _Optional[_Iterable[str]] = ..., allowed_origins: _Optional[_Iterable[str]] = ..., max_drift: _Optional[str] = ..., latency_cap_ms: _Optional[int] = ..., cost_cap_usd: _Optional[str] = ..., data_handling: _Optional[_Union[DataRequirement, _Mapping]] = ..., condition: _Optional[str] = ..., providers: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., fallback: _Optional[_Union[Fallback, _Mapping]] = ..., audit: _Optional[str] = ..., shadows: _Optional[_Iterable[str]] = ..., redaction: _Optional[_Union[Redaction, _Mapping]] = ...) -> None: ...

class Redaction(_message.Message):
    __slots__ = ("action", "detect", "ignore")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DETECT_FIELD_NUMBER: _ClassVar[int]
    IGNORE_FIELD_NUMBER: _ClassVar[int]
    action: str
    detect: _containers.RepeatedScalarFieldContainer[str]
    ignore: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, action: _Optional[str] = ..., detect: _Optional[_Iterable[str]] = ..., ignore: _Optional[_Iterable[str]] = ...) -> None: ...

class DataRequirement(_message.Message):
    __slots__ = ("no_training", "max_retention_days")
    NO_TRAINING_FIELD_NUMBER: _ClassVar[int]
    MAX_RETENTION_DAYS_FIELD_NUMBER: _ClassVar[int]
    no_training: bool
    max_retention_days: int
    def __init__(self, no_training: _Optional[bool] = ..., max_retention_days: _Optional[int] = ...) -> None: ...

class Fallback(_message.Message):
    __slots__ = ("enabled", "max_attempts")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    max_attempts: int
    def __init__(self, enabled: _Optional[bool] = ..., max_attempts: _Optional[int] = ...) -> None: ...

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
