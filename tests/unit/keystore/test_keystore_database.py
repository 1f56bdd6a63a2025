"""Keys that the database holds: sealed, bound to whose they are, opened by the master key in use or an earlier one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sovereign_ext.keystore.base import SHARED, CredentialUnavailableError
from sovereign_ext.keystore.database import KIND, DatabaseKeys, StoredKey, StoredKeys, pair_of
from sovereign_ext.keystore.masterkey import KeyFromEnvironment, WrappedKey
from sovereign_ext.keystore.sealed import DamagedError
from sovereign_ext.secret import Secret

PAIR = ("acme", "alpha")
NAME = "tenants/acme/providerKeys/alpha"
ONE, TWO = (KeyFromEnvironment(name, {"ONE": "11" * 32, "TWO": "22" * 32}) for name in ("ONE", "TWO"))


@dataclass(frozen=True)
class Row:
    name: str
    document: str
    revision: int
    deleted: bool = False


@dataclass
class Rows:
    rows: list[Row]

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterable[Row]:
        assert kinds == (KIND,)
        return [row for row in self.rows if row.revision > revision]


class Xor:
    """A KMS of a kind: what it wraps, it opens."""

    name = "xor"

    async def wrap(self, plain: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in plain)

    async def unwrap(self, wrapped: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in wrapped)


def sealed(
    masters: Sequence[Any], pair: tuple[str, str] = PAIR, before: StoredKey | None = None
) -> StoredKey:
    keys = DatabaseKeys(StoredKeys(), masters)
    return asyncio.run(keys.seal(pair, Secret("sk-x"), before, set_s=1_700_000_000, nonce=b"n" * 12))


def found(masters: Sequence[Any], document: dict[str, Any], name: str = NAME) -> str | None:
    stored = StoredKeys()
    stored.apply(Row(name, json.dumps(document), 1))
    secret = asyncio.run(DatabaseKeys(stored, masters).find(*pair_of(name)))
    return None if secret is None else secret.reveal()


def test_what_is_sealed_is_found() -> None:
    """And nothing of it can be read in what is stored."""
    document = sealed([ONE]).document()
    assert "sk-x" not in json.dumps(document)
    assert found([ONE], document) == "sk-x"


def test_an_earlier_master_key_still_opens() -> None:
    """While it is named under ``previous``."""
    document = sealed([ONE]).document()
    assert found([TWO, ONE], document) == "sk-x"
    with pytest.raises(CredentialUnavailableError) as caught:
        found([TWO], document)
    assert caught.value.reason == "no_master_key"


def test_a_wrapped_master_key_comes_with_the_record() -> None:
    """So that replicas need no file in common."""
    kms = WrappedKey(Xor(), lambda count: bytes(range(count)))
    key = sealed([kms])
    assert key.wrapped is not None
    assert found([kms], key.document()) == "sk-x"


def test_no_master_key_is_no_absent_key() -> None:
    """A key that cannot be opened ends the search: the next one would be another account's."""
    with pytest.raises(CredentialUnavailableError):
        found([], sealed([ONE]).document())
    with pytest.raises(CredentialUnavailableError) as caught:
        sealed([])
    assert caught.value.reason == "no_master_key"


@pytest.mark.parametrize("change", ["tenant", "version", "set_s", "fingerprint", "sealed", "shape"])
def test_a_record_is_bound_to_what_it_is(change: str) -> None:
    """One that is passed off as another's, or as another version, does not open."""
    document, name = sealed([ONE]).document(), NAME
    if change == "tenant":
        name = "tenants/globex/providerKeys/alpha"
    elif change == "shape":
        document = {"version": []}
    elif change == "sealed":
        document["sealed"] = "AAAA" + document["sealed"][4:]
    else:
        document[change] = "0" * 12 if change == "fingerprint" else document[change] + 1
    with pytest.raises(CredentialUnavailableError) as caught:
        found([ONE], document, name)
    assert caught.value.reason == "damaged"


def test_the_same_secret_stays_as_it_is() -> None:
    """Another master key seals it anew."""
    first = sealed([ONE])
    assert sealed([ONE], before=first) is first
    assert sealed([TWO, ONE], before=first).record.version == 2


def test_fingerprints_are_of_this_master_key() -> None:
    """They cannot be compared across installations, nor be made by who has a guess only."""
    assert sealed([ONE]).record.fingerprint != sealed([TWO]).record.fingerprint


def test_rows_are_followed() -> None:
    """What is new is taken in once, what was deleted goes, what is damaged is not taken for absent."""
    key = sealed([ONE], (SHARED, "alpha"))
    rows = Rows([Row("providerKeys/alpha", json.dumps(key.document()), 3)])
    stored = StoredKeys()
    assert stored.load(rows)
    assert not stored.load(rows)
    assert stored.get((SHARED, "alpha")) == key
    rows.rows = [Row("providerKeys/alpha", "{}", 4, deleted=True)]
    assert stored.load(rows)
    assert stored.get((SHARED, "alpha")) is None


@pytest.mark.parametrize("document", ["", "[]", "{", "null", '{"master": 1}'])
def test_a_row_that_cannot_be_read_harms_no_other(document: str) -> None:
    """Neither its name nor its document may end the following of the rest."""
    stored = StoredKeys()
    good = json.dumps(sealed([ONE]).document())
    rows = Rows(
        [Row("tenants/acme/other/x", "{}", 1), Row(NAME, document, 2), Row("providerKeys/b", good, 3)]
    )
    assert stored.load(rows)
    assert stored.get((SHARED, "b")) is not None
    with pytest.raises(DamagedError):
        stored.get(PAIR)


def test_the_mark_of_shared_keys_is_no_tenant() -> None:
    """Else a resource below a tenant of that name would stand for everybody's key."""
    with pytest.raises(ValueError, match="tenants"):
        pair_of(f"tenants/{SHARED}/providerKeys/alpha")


def test_a_follower_is_told() -> None:
    """Whoever keeps answers forgets them then."""

    async def scenario() -> None:
        stored, told = StoredKeys(), asyncio.Event()
        rows = Rows([Row(NAME, json.dumps(sealed_document), 1)])
        task = asyncio.create_task(stored.run(rows, told.set))
        stored.notice()
        await asyncio.wait_for(told.wait(), 10)
        assert stored.get(PAIR) is not None
        task.cancel()

    sealed_document = sealed([ONE]).document()
    asyncio.run(scenario())


def test_nothing_secret_in_a_repr() -> None:
    """Tracebacks show values."""
    key = dataclasses.replace(sealed([ONE]), wrapped=b"wrapped master key")
    assert "wrapped master" not in repr(key)
    assert repr(key.record.sealed) not in repr(key)
