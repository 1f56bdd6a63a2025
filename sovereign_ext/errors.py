"""Every error this code raises on purpose, and what a client may be told about it.

::

    SovereignError
    ├── ConfigError            the operator's file is wrong; carries file, line and field
    │   └── ConfigErrors       all the faults of one file at once
    ├── ApiError               has a client-safe status, type, code and message
    │   ├── CallerError        the caller erred (4xx): never lowers a provider's health
    │   │   ├── KeyRefused     401/403 for the key presented; carries whose key it was, if known
    │   │   └── InvalidFields  400 for a resource; carries every field that is wrong
    │   └── ServiceError       we or every provider failed (5xx, 429)
    ├── LogError
    │   ├── LogUnavailable     an entry could not be made durable: the call fails closed
    │   ├── LogConflict        a decision id was used before, for something else
    │   ├── EntryNotFound      no such entry, or none that this tenant may see
    │   ├── EntryPending       sequenced, but no checkpoint covers it yet: ask again
    │   ├── LogCorrupt         stored log data contradict each other; never sign past this
    │   ├── LeaseLost          this process does not integrate the log any more; another one does, or will
    │   ├── AnchorFailed       an external log did not take a checkpoint, or its answer proves nothing
    │   └── WitnessRefused     a witness or mirror would not cosign a checkpoint; sequencing goes on
    ├── ResourceError          a change of a resource cannot be made; carries its name
    │   ├── ResourceExists     there is one of that name
    │   ├── ResourceMissing    there is none of that name
    │   ├── ResourceChanged    it is not the revision that the change was made for
    │   ├── ResourceInUse      others refer to it
    │   └── ReferenceMissing   it would refer to what is not there, or is another's; carries the fields
    ├── StartError             the local stack cannot start, or did not stay up; for the user's terminal
    └── VerificationError      a receipt, proof, note or signature does not verify
        ├── EvidenceRefused    evidence of a confidential endpoint; carries the tier's reason code
        └── StatementError     a signed statement says something it may not; carries the field

Only ``ApiError`` messages reach a client. Anything else is answered with one generic message and a
request id. Messages never contain prompts, credentials or internal addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"


class SovereignError(Exception):
    """Root of the tree."""


class ConfigError(SovereignError):
    """A configuration file cannot be used.

    ``file`` is the path as given, ``line`` is 1-based (``None`` when the fault has no place in the file),
    ``field`` is a dotted path such as ``tenants[0].keys[1].hash``.
    """

    def __init__(self, reason: str, *, file: str = "", line: int | None = None, field: str = "") -> None:
        self.reason = reason
        self.file = file
        self.line = line
        self.field = field
        place = file if line is None else f"{file}:{line}"
        super().__init__(": ".join(part for part in (place, field, reason) if part))

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        """Every single fault, so that callers need not ask which of the two classes they caught."""
        return (self,)


class ConfigErrors(ConfigError):
    """All the faults of one file, in file order; the text has one line for each."""

    def __init__(self, faults: Sequence[ConfigError]) -> None:
        if not faults:
            raise ValueError("ConfigErrors without a fault")
        first = faults[0]
        super().__init__(first.reason, file=first.file, line=first.line, field=first.field)
        self.args = ("\n".join(str(fault) for fault in faults),)
        self._faults = tuple(faults)

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        return self._faults


class ApiError(SovereignError):
    """An error in OpenAI's shape ``{"error": {message, type, param, code}}``.

    ``retry_after_s`` becomes ``Retry-After`` (whole seconds, rounded up); ``retry`` answers whether the same
    call could succeed later: ``False`` becomes ``x-should-retry: false``, which both OpenAI SDKs obey.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID_REQUEST,  # noqa: A002 - OpenAI's own name for the field
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.retry = retry


class CallerError(ApiError):
    """The caller erred: bad key, bad body, denied policy, unknown model."""


class KeyRefused(CallerError):
    """The key presented opens nothing here.

    ``tenant`` and ``key_id`` are for our log, and only there when the key is, or was, that tenant's.
    """

    def __init__(
        self, status: int, message: str, *, code: str, tenant: str | None = None, key_id: str | None = None
    ) -> None:
        super().__init__(status, message, code=code)
        self.tenant = tenant
        self.key_id = key_id


class InvalidFields(CallerError):
    """A resource is not what it must be. ``fields`` has a dotted path and what is wrong there, one or more."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = tuple(fields)
        path, reason = self.fields[0]
        more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
        super().__init__(400, f"{path}: {reason}{more}", code="invalid_field", param=path)


class ServiceError(ApiError):
    """The gateway, its log or every eligible provider failed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        type: str = SERVER_ERROR,  # noqa: A002
        retry_after_s: float | None = None,
        retry: bool = True,
    ) -> None:
        super().__init__(status, message, type=type, code=code, retry_after_s=retry_after_s, retry=retry)


class LogError(SovereignError):
    """The transparency log could not do what was asked."""


class LogUnavailable(LogError):
    """An entry could not be made durable (disk full, database gone, shutting down)."""


class LogConflict(LogError):
    """An entry of this kind and decision id exists and says something else."""


class EntryNotFound(LogError):
    """There is no such entry, or it belongs to another tenant: the caller cannot tell which."""


class EntryPending(LogError):
    """The entry is durable but no published checkpoint covers it yet."""


class LogCorrupt(LogError):
    """Stored log data contradict each other: signing on would fork the log."""


class LeaseLost(LogError):
    """This process may not integrate the log any more: another one does, or its lease ran out."""


class AnchorFailed(LogError):
    """An external log did not take a checkpoint, or what it answered does not prove that it did: try again.

    ``retry_after_s`` is what the log asked for. ``sign_anew`` says that the same signature would fail again.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None, sign_anew: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.sign_anew = sign_anew


class WitnessRefused(LogError):
    """A log witness or mirror did not cosign: it could not be reached, or its answer was not a cosignature."""


class ResourceError(SovereignError):
    """A change of a stored resource cannot be made. ``name`` is the API's, such as ``tenants/acme``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ResourceExists(ResourceError):
    """There is a resource of that name."""


class ResourceMissing(ResourceError):
    """There is no resource of that name, or it was deleted."""


class ResourceChanged(ResourceError):
    """Somebody else has changed the resource since."""


class ResourceInUse(ResourceError):
    """Others refer to the resource, and would refer to nothing without it: ``users``, by their names."""

    def __init__(self, name: str, users: Sequence[str]) -> None:
        super().__init__(name)
        self.users = tuple(users)


class ReferenceMissing(ResourceError):
    """The resource would refer to what is not there, or not for it. ``fields`` are as those of ``InvalidFields``."""

    def __init__(self, name: str, fields: Sequence[tuple[str, str]]) -> None:
        super().__init__(name)
        self.fields = tuple(fields)


class StartError(SovereignError):
    """The local stack cannot start, or did not stay up: a taken port, a directory, a child that ended."""


class VerificationError(SovereignError):
    """Something that claims to be proven is not. The message says what was expected and what came."""


class StatementError(VerificationError):
    """A signed document is not what its format asks for. ``field`` is a dotted path in it, empty for all of it."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


class EvidenceRefused(VerificationError):
    """Confidential-computing evidence cannot be used. ``reason`` is a tier's reason code (``evidence_expired``)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
