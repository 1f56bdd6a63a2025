"""The directory: who is there after any sequence of changes, in any order, from two sources."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sovereign_ext.config.model import Config, IssuedKey
from sovereign_ext.config.tenancy import Allowance
from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.tenants.directory import Directory, Grant, Kind, _KeyRow
from sovereign_ext.tenants.keyhash import KeyHash, KeyHashes
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

HASHES = KeyHashes(KeyHash(b"new" * 11), [KeyHash(b"old" * 11)])
OLD = KeyHashes(KeyHash(b"old" * 11))
LOST = KeyHashes(KeyHash(b"lost" * 8))
NAMES = st.sampled_from(["a", "b", "c"])
KEYS = [f"key-{number}" for number in range(6)]
WORKLOADS = st.sampled_from(["spiffe://x/1", "spiffe://x/2"])


@dataclass(frozen=True)
class Row:
    """A resource as the database gives it."""

    name: str
    kind: str
    document: str = "{}"
    deleted: bool = False


def tenant_row(name: str, **fields: Any) -> Row:
    document = {"id": name, "policies": ["p"], "default_policy": "p", **fields}
    return Row(f"tenants/{name}", Kind.TENANT, json.dumps(document))


def key_row(owner: str, key_id: str, key: str, hashes: KeyHashes = HASHES, **fields: Any) -> Row:
    kind = Kind.KEY if owner.startswith("tenants/") else Kind.OPERATOR_KEY
    document = {"id": key_id, "hash": hashes.stored(Secret(key)), **fields}
    return Row(f"{owner}/keys/{key_id}", kind, json.dumps(document))


def gone(row: Row) -> Row:
    return Row(row.name, row.kind, deleted=True)


def config(tenants: list[dict[str, Any]], admins: list[dict[str, Any]] | None = None) -> Config:
    return Config.model_validate(
        {"version": 1, "policies": [{"id": "p"}], "tenants": tenants, "admins": admins or []}
    )


def declared(name: str, *keys: str, **fields: Any) -> dict[str, Any]:
    listed = [{"id": key, "hash": hash_key(key)} for key in keys]
    return {"id": name, "policies": ["p"], "default_policy": "p", "keys": listed, **fields}


def found(directory: Directory, key: str) -> tuple[str, str] | None:
    grant = directory.grant(key)
    return None if grant is None else (grant.owner, grant.key_id)


def test_a_key_of_the_database_opens_its_tenant_under_every_secret_that_is_there() -> None:
    """A rotated secret's keys go on until they are replaced; without its secret a key opens nothing."""
    directory = Directory(HASHES)
    for row in (
        tenant_row("a"),
        key_row("tenants/a", "one", "k1"),
        key_row("tenants/a", "two", "k2", OLD),
        key_row("tenants/a", "three", "k3", LOST),
    ):
        directory.apply(row)
    assert [found(directory, key) for key in ("k1", "k2", "k3", "k4")] == [
        ("a", "one"),
        ("a", "two"),
        None,
        None,
    ]
    assert dict(directory.unopened) == {LOST.current.id: 1}
    assert directory.issued("tenants/a") == 3


def test_times_policies_and_allowance_of_a_key_are_there() -> None:
    """Ready for use: no date is parsed in a call."""
    directory = Directory(HASHES)
    directory.apply(
        key_row(
            "tenants/a", "one", "k",
            expires_at="2027-01-31T00:00:00Z", policies=["p"], limits=[{"per": "minute", "requests": 3}],
        )
    )  # fmt: skip
    grant = directory.grant("k")
    assert grant is not None
    assert (grant.kind, grant.expires_at, grant.revoked_at) == (KeyKind.TENANT, 1801353600.0, float("inf"))
    assert (grant.policies, grant.allowance.limits[0].requests) == (("p",), 3)
    assert grant.name == "tenants/a/keys/one"
    assert grant.proof.hex() not in repr(grant)


def test_the_order_of_rows_does_not_matter() -> None:
    """At the start they come in the order of their last changes, a tenant perhaps after its keys."""
    directory = Directory(HASHES)
    directory.apply(key_row("tenants/a", "one", "k"))
    assert directory.tenant("a") is None
    directory.apply(tenant_row("a"))
    assert directory.tenant("a") is not None
    assert found(directory, "k") == ("a", "one")


def test_a_row_that_cannot_be_read_opens_nothing_any_more() -> None:
    """It may be a revocation that we do not understand."""
    directory = Directory(HASHES)
    row = key_row("tenants/a", "one", "k")
    directory.apply(row)
    with pytest.raises(ConfigError, match=r"tenants/a/keys/one: its document cannot be read"):
        directory.apply(Row(row.name, row.kind, '{"from": "the future"}'))
    assert directory.grant("k") is None
    directory.apply(row)
    assert found(directory, "k") == ("a", "one")


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Kind.KEY, "tenants/a/keys"), (Kind.KEY, "keys/a"), (Kind.TENANT, "tenants/a/b"), (Kind.OPERATOR, "x")],
)
def test_a_name_of_another_form_is_refused(kind: Kind, name: str) -> None:
    with pytest.raises(ConfigError):
        Directory(HASHES).apply(Row(name, kind))


def test_kinds_of_others_are_passed_over() -> None:
    """Policies are in the same table."""
    Directory(HASHES).apply(Row("policies/p", "policy", "not JSON"))


def test_the_same_key_twice_stays_with_the_first() -> None:
    """Random keys do not collide: the second row is a mistake or worse."""
    directory = Directory(HASHES)
    directory.apply(key_row("tenants/a", "one", "k"))
    with pytest.raises(ConfigError):
        directory.apply(key_row("tenants/b", "two", "k"))
    assert found(directory, "k") == ("a", "one")
    directory.apply(gone(key_row("tenants/b", "two", "k")))
    assert found(directory, "k") == ("a", "one")


def test_operators_have_keys_too() -> None:
    directory = Directory.of(
        config([], [{"id": "ops", "keys": [{"id": "ops-1", "hash": hash_key("k1")}]}]), HASHES
    )
    directory.apply(Row("operators/eve", Kind.OPERATOR, '{"id": "eve", "role": "auditor", "tenant": "a"}'))
    directory.apply(key_row("operators/eve", "e-1", "k2"))
    one, two = directory.grant("k1"), directory.grant("k2")
    assert one is not None
    assert two is not None
    assert (one.kind, one.name, two.kind, two.name) == (
        KeyKind.ADMIN, "operators/ops/keys/ops-1", KeyKind.ADMIN, "operators/eve/keys/e-1",
    )  # fmt: skip
    eve = directory.operator("eve")
    assert eve is not None
    assert (eve.role, eve.tenant) == ("auditor", "a")
    directory.apply(gone(Row("operators/eve", Kind.OPERATOR)))
    assert directory.operator("eve") is None


def test_what_the_file_declares_is_known_and_clashes_are_named() -> None:
    """A name belongs to the file or to the database."""
    file = config([declared("a", "k")], [{"id": "ops", "keys": [{"id": "o", "hash": hash_key("o")}]}])
    directory = Directory.of(file, HASHES)
    assert [directory.declares(name) for name in ("tenants/a", "operators/ops", "tenants/a/keys/k")] == [
        True
    ] * 3
    names = ("tenants/ops", "operators/a", "tenants/b", "tenants/a/keys/x", "policies/a")
    assert not any(directory.declares(name) for name in names)
    assert directory.clashes(file) == ()
    directory.apply(tenant_row("a"))
    assert directory.clashes(file) == ("tenants/a",)
    assert [each.id for each in directory.tenants()] == ["a"]


def test_a_key_belongs_to_the_file_or_to_the_database() -> None:
    """Else the API would show the file's, and the database's could be neither seen nor revoked, and would open."""
    directory = Directory(HASHES)
    directory.apply(key_row("tenants/a", "ci", "one"))
    directory.apply(key_row("operators/ops", "o", "two"))
    mine = [{"id": "o", "hash": hash_key("three")}]
    assert directory.clashes(config([declared("a", "ci", "other")], [{"id": "ops", "keys": mine}])) == (
        "tenants/a/keys/ci",
        "operators/ops/keys/o",
    )
    assert directory.clashes(config([declared("a", "other")])) == ()


def test_a_workload_that_two_tenants_claim_is_nobodys() -> None:
    """Whichever came first cannot be told the same everywhere; so it opens neither until that is settled."""
    directory = Directory.of(config([declared("a", identities=["spiffe://x/1"])]), HASHES)
    assert (tenant := directory.workload("spiffe://x/1")) is not None
    assert tenant.id == "a"
    directory.apply(tenant_row("b", identities=["spiffe://x/1", "spiffe://x/2"]))
    assert directory.workload("spiffe://x/1") is None
    assert directory.claimants("spiffe://x/1") == {"a", "b"}
    assert (other := directory.workload("spiffe://x/2")) is not None
    assert other.id == "b"
    directory.apply(gone(tenant_row("b")))
    assert (tenant := directory.workload("spiffe://x/1")) is not None
    assert directory.workload("spiffe://x/2") is None


class Naive:
    """What the directory should know, found by looking through everything."""

    def __init__(self) -> None:
        self.file: Config = config([])
        self.rows: dict[str, Row] = {}

    def grant(self, key: str) -> tuple[str, str] | None:
        for tenant in self.file.tenants:
            for each in tenant.keys:
                if each.hash == hash_key(key):
                    return tenant.id, each.id
        for stored in (HASHES.stored(Secret(key)), OLD.stored(Secret(key))):
            for row in self.rows.values():
                if row.kind == Kind.KEY and json.loads(row.document)["hash"] == stored:
                    _, owner, _, key_id = row.name.split("/")
                    return owner, key_id
        return None

    def tenants(self) -> dict[str, tuple[str, ...]]:
        rows = [json.loads(row.document) for row in self.rows.values() if row.kind == Kind.TENANT]
        stored = {row["id"]: tuple(row["identities"]) for row in rows}
        return {**stored, **{each.id: each.identities for each in self.file.tenants}}

    def workload(self, identity: str) -> str | None:
        rows = [json.loads(row.document) for row in self.rows.values() if row.kind == Kind.TENANT]
        claims = {row["id"] for row in rows if identity in row["identities"]}
        claims |= {each.id for each in self.file.tenants if identity in each.identities}
        claimant = next(iter(claims)) if len(claims) == 1 else None
        return claimant if claimant is not None and identity in self.tenants()[claimant] else None


class DirectoryMachine(RuleBasedStateMachine):
    """Any sequence of changes leaves the directory as looking through everything would find it."""

    @initialize()
    def begin(self) -> None:
        self.directory = Directory(HASHES)
        self.naive = Naive()

    @rule(name=NAMES, identities=st.lists(WORKLOADS, unique=True))
    def put_tenant(self, name: str, identities: list[str]) -> None:
        self._put(tenant_row(name, identities=identities))

    @rule(name=NAMES, key_id=st.sampled_from(["x", "y"]), key=st.sampled_from(KEYS),
          hashes=st.sampled_from([HASHES, OLD, LOST]))  # fmt: skip
    def put_key(self, name: str, key_id: str, key: str, hashes: KeyHashes) -> None:
        row = key_row(f"tenants/{name}", key_id, key, hashes)
        hash_ = json.loads(row.document)["hash"]
        others = (
            each for each in self.naive.rows.values() if each.name != row.name and each.kind == Kind.KEY
        )
        if any(json.loads(each.document)["hash"] == hash_ for each in others):
            return  # has a test of its own
        self._put(row)

    @rule(name=NAMES, key_id=st.sampled_from([None, "x", "y"]))
    def delete(self, name: str, key_id: str | None) -> None:
        row = tenant_row(name) if key_id is None else key_row(f"tenants/{name}", key_id, "any")
        self.directory.apply(gone(row))
        self.naive.rows.pop(row.name, None)

    @rule(tenants=st.dictionaries(NAMES, st.lists(WORKLOADS, max_size=1), max_size=2),
          keys=st.lists(st.sampled_from(KEYS), unique=True, max_size=3))  # fmt: skip
    def edit_file(self, tenants: dict[str, list[str]], keys: list[str]) -> None:
        entries = [declared(name, identities=claimed) for name, claimed in tenants.items()]
        if entries:
            entries[0] = declared(entries[0]["id"], *keys, identities=entries[0]["identities"])
        self.naive.file = config(entries)
        self.directory.follow(self.naive.file)

    def _put(self, row: Row) -> None:
        self.directory.apply(row)
        self.naive.rows[row.name] = row

    @invariant()
    def is_as_looking_through_everything(self) -> None:
        if not hasattr(self, "directory"):
            return
        for key in KEYS:
            assert found(self.directory, key) == self.naive.grant(key)
        assert {each.id: each.identities for each in self.directory.tenants()} == self.naive.tenants()
        for identity in ("spiffe://x/1", "spiffe://x/2"):
            tenant = self.directory.workload(identity)
            assert (tenant.id if tenant else None) == self.naive.workload(identity)
        for name in "abc":
            keys = [row for row in self.naive.rows if row.startswith(f"tenants/{name}/keys/")]
            assert self.directory.issued(f"tenants/{name}") == len(keys)


DirectoryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestDirectoryMachine = DirectoryMachine.TestCase


@given(st.text(max_size=100))
def test_no_text_opens_anything_it_should_not(text: str) -> None:
    """Lone surrogates and all."""
    directory = Directory.of(config([declared("a", "k")]), HASHES)
    directory.apply(key_row("tenants/b", "one", "k1"))
    grant: Grant | None = directory.grant(text)
    assert grant is None or text in {"k", "k1"}


def test_the_time_of_a_lookup_says_nothing_about_the_key() -> None:
    """Unknown keys, and those that differ from a good one in one place, early or late, are refused in like times.

    Medians of many lookups in turn, so that whatever else the machine does falls on all alike; the bound is wide.
    """
    directory = Directory(HASHES)
    directory.apply(tenant_row("a"))
    good = [mint(KeyKind.TENANT, sha256(b"%d" % n).digest()).reveal() for n in range(2_000)]
    for number, key in enumerate(good):
        directory.apply(key_row("tenants/a", f"k{number}", key))
    guesses = {
        "unknown": [mint(KeyKind.TENANT, sha256(b"x%d" % n).digest()).reveal() for n in range(2_000)],
        "first character": [key[:10] + ("B" if key[10] == "A" else "A") + key[11:] for key in good],
        "last character": [key[:-1] + ("B" if key[-1] == "A" else "A") for key in good],
    }
    times: dict[str, list[int]] = {name: [] for name in guesses}
    for row in range(2_000):
        for name, keys in guesses.items():
            began = time.perf_counter_ns()
            assert directory.grant(keys[row]) is None
            times[name].append(time.perf_counter_ns() - began)
    medians = {name: statistics.median(found) for name, found in times.items()}
    assert max(medians.values()) < 1.5 * min(medians.values()), medians


def test_a_lookup_costs_the_same_among_few_and_many() -> None:
    """A hundred times as many keys; the bound is wide, a search through them would be far beyond it."""

    def median_ns(count: int) -> float:
        directory = Directory(HASHES)
        for number in range(count):
            directory.apply(key_row("tenants/a", f"k{number}", f"key-{number}"))
        found = []
        for number in range(1_000):
            began = time.perf_counter_ns()
            assert directory.grant(f"key-{number % 100}") is not None
            found.append(time.perf_counter_ns() - began)
        return statistics.median(found)

    assert median_ns(10_000) < 3 * median_ns(100)


def test_what_is_read_of_a_key_is_all_that_is_written_of_one() -> None:
    """The fast decoder knows every member of the model, and no more."""
    key = IssuedKey.model_validate(
        {
            "id": "k",
            "hash": HASHES.stored(Secret("k")),
            "expires_at": "2027-01-31T12:00:00+01:00",
            "revoked_at": "2027-01-31",
            "policies": ["p"],
            "limits": [{"per": "minute", "requests": 3}, {"concurrent": 2, "model": "m"}],
            "spend_caps": [{"usd": "0.05"}],
            "replaces": "j",
        }
    )
    assert {field.name for field in msgspec.structs.fields(_KeyRow)} == set(IssuedKey.model_fields)
    directory = Directory(HASHES)
    directory.apply(Row("tenants/a/keys/k", Kind.KEY, key.model_dump_json()))
    grant = directory.grant("k")
    assert grant is not None
    assert key.expires_at is not None
    assert key.revoked_at is not None
    assert (grant.expires_at, grant.revoked_at) == (key.expires_at.timestamp(), key.revoked_at.timestamp())
    assert grant.allowance == Allowance(limits=key.limits, spend_caps=key.spend_caps)
