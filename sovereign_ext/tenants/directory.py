"""Everybody there is: tenants, operators, what each key opens, which workload is whose.

An index in memory that is changed piece by piece and never rebuilt: what the file declares is replaced by ``follow``
(few), what the database holds is changed row by row by ``apply`` (many), in any order. Where both name the same tenant,
operator or key, the file's holds. Lookups cost the same however many there are. A row that cannot be read opens
nothing. No clock, no IO: rows and secrets are arguments.

Keys are found by their hash: those of the file by SHA-256, those of the database by HMAC under a secret
(``keyhash``). A table is entered with the first half of the hash; the second half is compared in constant time, so that
what the time of a lookup could tell is not enough to open anything.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol

import msgspec

from sovereign_ext.config.model import Admin, Config, KeyTerms, Tenant
from sovereign_ext.config.tenancy import Allowance, Operator
from sovereign_ext.errors import ConfigError
from sovereign_ext.tenants.keyhash import KeyHash, KeyHashes, split
from sovereign_ext.tenants.keys import KeyKind

NOTHING_SET: Final = Allowance()
"""The allowance of most keys."""


class Kind(StrEnum):
    """The kinds of resources that a directory is made of."""

    TENANT = "tenant"
    KEY = "key"
    OPERATOR = "operator"
    OPERATOR_KEY = "operator_key"


class Row(Protocol):
    """A resource of the database (``storage.resources.Resource``)."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def document(self) -> str: ...
    @property
    def deleted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key opens. ``owner`` is the id of a tenant or, for ``KeyKind.ADMIN``, of an operator.

    The two times are Unix seconds, infinite where none is set. ``policies`` is empty where the tenant's hold.
    ``proof`` is the second half of the key's hash.
    """

    kind: KeyKind
    owner: str
    key_id: str
    expires_at: float
    revoked_at: float
    policies: tuple[str, ...] = ()
    allowance: Allowance = NOTHING_SET
    proof: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """The key's name in the management API."""
        return f"{'tenants' if self.kind is KeyKind.TENANT else 'operators'}/{self.owner}/keys/{self.key_id}"


class _KeyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document of an ``IssuedKey``, which it was checked as when it was written: decoded in a tenth of the time."""

    id: str
    hash: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    revoked_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    policies: tuple[str, ...] = ()
    limits: list[dict[str, Any]] = []
    spend_caps: list[dict[str, Any]] = []
    replaces: str | None = None


_decode_key = msgspec.json.Decoder(_KeyRow).decode

_Table = dict[bytes, Grant]
_HALF: Final = 16  # bytes
_OWNER: Final = re.compile(r"(?:tenants|operators)/([^/]+)")
_KEY: Final = re.compile(r"(tenants|operators)/([^/]+)/keys/([^/]+)")


class Directory:
    """Belongs to one event loop. A call looks itself up once and keeps what it found."""

    def __init__(self, hashes: KeyHashes | None = None) -> None:
        """``hashes`` are the secrets of the database's keys; without them none of those opens anything."""
        self._secrets: Mapping[str, KeyHash] = {} if hashes is None else hashes.by_id
        self._declared_tenants: dict[str, Tenant] = {}
        self._declared_operators: dict[str, Operator] = {}
        self._declared_keys: _Table = {}
        self._tenants: dict[str, Tenant] = {}
        self._operators: dict[str, Operator] = {}
        self._keys: dict[str, _Table] = {}  # by the id of the secret
        self._places: dict[str, tuple[str, bytes]] = {}  # of the database's keys, by name: secret, first half
        self._counts: Counter[str] = Counter()  # of the database's keys, by the owner's name
        # By SPIFFE id: whether the file says so, and the tenant's id.
        self._claims: defaultdict[str, set[tuple[bool, str]]] = defaultdict(set)
        self._lookups: tuple[tuple[KeyHash, _Table], ...] = ()

    @classmethod
    def of(cls, config: Config, hashes: KeyHashes | None = None) -> Directory:
        """A directory of what a file declares."""
        made = cls(hashes)
        made.follow(config)
        return made

    # -- what is in it -------------------------------------------------------------------------------------

    def follow(self, config: Config) -> None:
        """Take over what a file declares, in place of what the one before it did."""
        for tenant in self._declared_tenants.values():
            self._disclaim(tenant, declared=True)
        self._declared_tenants = {tenant.id: tenant for tenant in config.tenants}
        self._declared_operators = {admin.id: admin for admin in config.admins}
        self._declared_keys = dict(_declared(config.tenants, config.admins))
        for tenant in config.tenants:
            self._claim(tenant, declared=True)

    def apply(self, row: Row) -> None:
        """Take over one resource of the database as it is now; kinds of others are passed over.

        Raises ``ConfigError`` when its document cannot be read: it counts as deleted then.
        """
        try:
            if row.kind == Kind.TENANT:
                self._apply_tenant(row)
            elif row.kind == Kind.OPERATOR:
                self._apply_operator(row)
            elif row.kind in {Kind.KEY, Kind.OPERATOR_KEY}:
                self._apply_key(row)
        except ValueError:  # pydantic's and msgspec's are some
            raise ConfigError("its document cannot be read", file="database", field=row.name) from None

    def _apply_tenant(self, row: Row) -> None:
        tenant_id = _owner(row.name)
        before = self._tenants.pop(tenant_id, None)
        if before is not None:
            self._disclaim(before, declared=False)
        if not row.deleted:
            tenant = Tenant.model_validate_json(row.document)
            self._tenants[tenant_id] = tenant
            self._claim(tenant, declared=False)

    def _apply_operator(self, row: Row) -> None:
        operator_id = _owner(row.name)
        self._operators.pop(operator_id, None)
        if not row.deleted:
            self._operators[operator_id] = Operator.model_validate_json(row.document)

    def _apply_key(self, row: Row) -> None:
        match = _KEY.fullmatch(row.name)
        if match is None:
            raise ValueError("not the name of a key")
        owner = f"{match[1]}/{match[2]}"
        self._forget_key(row.name, owner)
        if row.deleted:
            return
        key = _decode_key(row.document)
        secret, digest = split(key.hash)
        table = self._keys.setdefault(secret, {})
        if digest[:_HALF] in table:
            raise ValueError("the same key as another")
        kind = KeyKind.TENANT if match[1] == "tenants" else KeyKind.ADMIN
        table[digest[:_HALF]] = _grant(kind, match[2], key, digest)
        self._places[row.name] = (secret, digest[:_HALF])
        self._counts[owner] += 1
        if len(table) == 1:
            self._choose_tables()

    def _forget_key(self, name: str, owner: str) -> None:
        place = self._places.pop(name, None)
        if place is None:
            return
        table = self._keys[place[0]]
        del table[place[1]]
        if not table:
            self._choose_tables()
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]

    def _choose_tables(self) -> None:
        """Those that can be looked into and have keys: each costs a call one hash."""
        self._lookups = tuple(
            (hasher, self._keys[secret]) for secret, hasher in self._secrets.items() if self._keys.get(secret)
        )

    def _claim(self, tenant: Tenant, *, declared: bool) -> None:
        for identity in tenant.identities:
            self._claims[identity].add((declared, tenant.id))

    def _disclaim(self, tenant: Tenant, *, declared: bool) -> None:
        for identity in tenant.identities:
            self._claims[identity].discard((declared, tenant.id))
            if not self._claims[identity]:
                del self._claims[identity]

    # -- lookups -------------------------------------------------------------------------------------------

    def grant(self, key: str) -> Grant | None:
        """What a key opens, valid or not any more; ``None`` for one that nobody has."""
        text = key.encode("utf-8", "surrogateescape")
        if self._declared_keys:
            digest = hashlib.sha256(text).digest()
            found = self._declared_keys.get(digest[:_HALF])
            if found is not None and hmac.compare_digest(found.proof, digest[_HALF:]):
                return found
        for secret, table in self._lookups:
            digest = secret.digest(text)
            found = table.get(digest[:_HALF])
            if found is not None and hmac.compare_digest(found.proof, digest[_HALF:]):
                return found
        return None

    def tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant of that id."""
        return self._declared_tenants.get(tenant_id) or self._tenants.get(tenant_id)

    def operator(self, operator_id: str) -> Operator | None:
        """The operator of that id."""
        return self._declared_operators.get(operator_id) or self._operators.get(operator_id)

    def workload(self, identity: str) -> Tenant | None:
        """The tenant of a SPIFFE id; ``None`` for one that nobody has, or that several claim."""
        claimants = self.claimants(identity)
        tenant = self.tenant(next(iter(claimants))) if len(claimants) == 1 else None
        return tenant if tenant is not None and identity in tenant.identities else None

    def bound_to(self, tenant_id: str) -> tuple[str, ...]:
        """The names of the operators whose role holds for that tenant only."""
        everybody = {**self._operators, **self._declared_operators}
        return tuple(f"operators/{name}" for name, each in everybody.items() if each.tenant == tenant_id)

    def claimants(self, identity: str) -> frozenset[str]:
        """The ids of the tenants that claim a SPIFFE id."""
        return frozenset(tenant for _, tenant in self._claims.get(identity, ()))

    def declares(self, name: str) -> bool:
        """Whether the file declares this tenant, operator or key (``tenants/acme``, ``tenants/acme/keys/ci``)."""
        parts = name.split("/")
        if len(parts) == 2:
            owners = self._declared_tenants if parts[0] == "tenants" else self._declared_operators
            return parts[1] in owners and parts[0] in {"tenants", "operators"}
        return any(grant.name == name for grant in self._declared_keys.values())

    def issued(self, owner: str) -> int:
        """How many keys the database has of ``tenants/acme`` or ``operators/ops``, dead ones too."""
        return self._counts.get(owner, 0)

    def tenants(self) -> Iterator[Tenant]:
        """Every tenant, each once, the file's first."""
        yield from self._declared_tenants.values()
        yield from (each for name, each in self._tenants.items() if name not in self._declared_tenants)

    def clashes(self, config: Config) -> tuple[str, ...]:
        """The names of tenants, operators and keys that ``config`` declares although the database has them."""
        keys = (grant.name for _, grant in _declared(config.tenants, config.admins))
        return (
            *(f"tenants/{each.id}" for each in config.tenants if each.id in self._tenants),
            *(f"operators/{each.id}" for each in config.admins if each.id in self._operators),
            *(name for name in keys if name in self._places),
        )

    @property
    def unopened(self) -> Mapping[str, int]:
        """How many keys open nothing because their secret is not there, by the id of the secret."""
        return MappingProxyType(
            {each: len(table) for each, table in self._keys.items() if table and each not in self._secrets}
        )


def _declared(tenants: Iterable[Tenant], admins: Iterable[Admin]) -> Iterator[tuple[bytes, Grant]]:
    owners = [(KeyKind.TENANT, tenant.id, tenant.keys) for tenant in tenants]
    owners += [(KeyKind.ADMIN, admin.id, admin.keys) for admin in admins]
    for kind, owner, keys in owners:
        for key in keys:
            digest = bytes.fromhex(key.hash.removeprefix("sha256:"))
            yield digest[:_HALF], _grant(kind, owner, key, digest)


def _grant(kind: KeyKind, owner: str, key: KeyTerms | _KeyRow, digest: bytes) -> Grant:
    allowance = NOTHING_SET
    if key.limits or key.spend_caps:
        allowance = Allowance.model_validate({"limits": key.limits, "spend_caps": key.spend_caps})
    return Grant(
        kind,
        owner,
        key.id,
        math.inf if key.expires_at is None else key.expires_at.timestamp(),
        math.inf if key.revoked_at is None else key.revoked_at.timestamp(),
        key.policies,
        allowance,
        digest[_HALF:],
    )


def _owner(name: str) -> str:
    match = _OWNER.fullmatch(name)
    if match is None:
        raise ValueError("not the name of a tenant or operator")
    return match[1]
