"""The encrypted key file: what is written is read, and nothing else is."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keystore_world import Clock

from sovereign_ext.keystore.base import SHARED, CredentialUnavailableError
from sovereign_ext.keystore.local import LocalFile, change, read, reseal
from sovereign_ext.keystore.masterkey import (
    KEY_BYTES,
    KeyFromEnvironment,
    KeyFromFile,
    MasterKey,
    MasterSource,
    WrappedKey,
)
from sovereign_ext.keystore.sealed import (
    DamagedError,
    Record,
    WrongMasterKeyError,
    check,
    parse,
    render,
    seal,
    unseal,
    with_records,
)
from sovereign_ext.secret import Secret

SECRET = "sk-canary-5d1c"
MASTER = MasterKey(bytes(range(KEY_BYTES)))
OTHER = MasterKey(bytes(KEY_BYTES))


def source(master: MasterKey = MASTER, name: str = "MASTER") -> MasterSource:
    return KeyFromEnvironment(name, {name: base64.b64encode(master.material).decode()})


def put(path: Path, masters: Sequence[MasterSource], tenant: str, provider: str, secret: str) -> None:
    def edit(master: MasterKey, records: tuple[Record, ...]) -> tuple[Record, ...]:
        kept = tuple(record for record in records if record.pair != (tenant, provider))
        new = seal(
            master, (tenant, provider), Secret(secret),
            version=1 + len(records) - len(kept), set_s=1_800_000_000, nonce=os.urandom(12),
        )  # fmt: skip
        return (*kept, new)

    asyncio.run(change(path, masters, edit))


def found(local: LocalFile, tenant: str = "acme", provider: str = "p") -> str | None:
    secret = asyncio.run(local.find(tenant, provider))
    return None if secret is None else secret.reveal()


def fault(local: LocalFile) -> CredentialUnavailableError:
    with pytest.raises(CredentialUnavailableError) as caught:
        found(local)
    assert SECRET not in str(caught.value)
    return caught.value


# -- the format --------------------------------------------------------------------------------------------------

RECORDS = st.dictionaries(
    st.tuples(st.sampled_from(["acme", "mayo", SHARED]), st.sampled_from(["p", "q"])),
    st.text(st.characters(codec="utf-8"), min_size=1),
)


@given(RECORDS)
def test_what_is_sealed_is_read(stored: dict[tuple[str, str], str]) -> None:
    """Any text of any pair; the bytes show none of it."""
    sealed = tuple(
        seal(MASTER, pair, Secret(text), version=1, set_s=0, nonce=os.urandom(12))
        for pair, text in stored.items()
    )
    file = parse(render(with_records(MASTER, None, None, sealed)))
    check(MASTER, file)
    assert {record.pair: unseal(MASTER, record).reveal() for record in file.records} == stored


def whole() -> bytes:
    records = tuple(
        seal(MASTER, (tenant, "p"), Secret(SECRET + tenant), version=2, set_s=7, nonce=bytes([at]) * 12)
        for at, tenant in enumerate(("acme", "mayo", SHARED))
    )
    return render(with_records(MASTER, "kms", b"wrapped", records))


def opened(raw: bytes) -> list[tuple[tuple[str, str], str]]:
    file = parse(raw)
    check(MASTER, file)
    return [(record.pair, unseal(MASTER, record).reveal()) for record in file.records]


def test_no_changed_bit_goes_unnoticed() -> None:
    """Each bit of the file, one at a time: refused, or it says what it said (space, the wrapped master key)."""
    raw = whole()
    before = opened(raw)
    refused = []
    for at in range(len(raw)):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << bit
            try:
                assert opened(bytes(damaged)) == before
            except (DamagedError, WrongMasterKeyError) as error:
                refused.append(str(error))
    assert len(refused) > 6 * len(raw)
    assert not any(SECRET in message for message in refused)


def test_no_cut_goes_unnoticed() -> None:
    """Every length but the whole one is damaged."""
    raw = whole()
    for length in range(len(raw.rstrip())):
        with pytest.raises(DamagedError):
            parse(raw[:length])


def test_records_cannot_be_taken_out_or_passed_off() -> None:
    """A record less would send its tenant to the shared key; one under another's name to another's account."""
    document: dict[str, Any] = json.loads(whole())
    without = {**document, "keys": document["keys"][1:]}
    swapped = json.loads(whole())
    swapped["keys"][1]["tenant"], swapped["keys"][2]["tenant"] = "mayo", "acme"
    older = json.loads(whole())
    older["keys"][0]["version"] = 1
    for changed in (without, swapped, older, {**document, "keys": []}):
        with pytest.raises(DamagedError, match="list of keys"):
            opened(json.dumps(changed).encode())
    record = parse(whole()).records[1]
    passed_off = Record("mayo", *(getattr(record, name) for name in list(Record.__slots__)[1:]))
    with pytest.raises(DamagedError):
        unseal(MASTER, passed_off)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "cipher", "master", "keys", "mac", "id", "tenant"]), inner, max_size=5),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_damaged(raw: bytes) -> None:
    """No other exception for any bytes."""
    with pytest.raises(DamagedError):
        parse(raw)


def test_nothing_shows_what_is_in_it() -> None:
    """Master keys, records and files as text."""
    file = parse(whole())
    shown = f"{file!r} {MASTER!r} {file.records[0]!r} {whole()!r}"
    assert SECRET not in shown
    assert MASTER.id in shown
    assert base64.b64encode(MASTER.material).decode() not in shown
    assert repr(MASTER.material) not in shown


# -- the file ----------------------------------------------------------------------------------------------------


def test_stored_found_replaced_removed(tmp_path: Path) -> None:
    """A reader that stays sees each change; the file is its owner's alone."""
    path = tmp_path / "keys.json"
    local = LocalFile(path, [source()], Clock())
    assert found(local) is None
    put(path, [source()], "acme", "p", SECRET)
    put(path, [source()], SHARED, "p", "sk-all")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (found(local), found(local, SHARED), found(local, "mayo")) == (SECRET, "sk-all", None)
    put(path, [source()], "acme", "p", "sk-rotated")
    assert found(local) == "sk-rotated"
    asyncio.run(change(path, [source()], lambda _, records: records[:0]))
    assert found(local) is None
    assert b"sk-" not in path.read_bytes()


def test_a_change_is_noticed_once(tmp_path: Path) -> None:
    """As the chain follows it."""
    path = tmp_path / "keys.json"
    local = LocalFile(path, [source()], Clock())
    assert not local.changed()
    put(path, [source()], "acme", "p", SECRET)
    assert local.changed()
    assert not local.changed()


def test_a_wrong_master_key(tmp_path: Path) -> None:
    """Said as such, with the ids of both; nothing is written with it either."""
    path = tmp_path / "keys.json"
    put(path, [source()], "acme", "p", SECRET)
    error = fault(LocalFile(path, [source(OTHER)], Clock()))
    assert (error.reason, MASTER.id in str(error)) == ("wrong_master_key", True)
    before = path.read_bytes()
    with pytest.raises(CredentialUnavailableError):
        put(path, [source(OTHER)], "mayo", "p", SECRET)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "directory", "gone"])
def test_damage_is_a_fault_and_not_an_absent_key(tmp_path: Path, damage: str) -> None:
    """Nobody is sent to another key because the file is broken, and what is broken is not overwritten."""
    path = tmp_path / "keys.json"
    put(path, [source()], "acme", "p", SECRET)
    local = LocalFile(path, [source()], Clock())
    assert found(local) == SECRET
    raw = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage != "gone":
        middle = raw.index(b'"sealed": "') + 15
        flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
        path.write_bytes({"cut": raw[: len(raw) // 2], "empty": b"", "flipped": flipped}[damage])
    assert fault(local).reason in ("damaged", "unreachable")
    if damage in ("cut", "flipped"):
        with pytest.raises(CredentialUnavailableError):
            put(path, [source()], "mayo", "p", SECRET)


def test_writers_take_turns(tmp_path: Path) -> None:
    """Sixteen at once: no change is lost."""
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(path, [source()], f"t{number}", "p", f"sk-{number}"), range(16)))
    local = LocalFile(path, [source()], Clock())
    assert [found(local, f"t{number}") for number in range(16)] == [f"sk-{number}" for number in range(16)]


# -- master keys -------------------------------------------------------------------------------------------------


class Kms:
    """A ``KeyWrap`` that keeps what it wraps."""

    name = "kms"

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.unwrapped = 0
        self.down = False

    async def wrap(self, plain: bytes) -> bytes:
        name = b"blob-%d" % len(self.kept)
        self.kept[name] = plain
        return name

    async def unwrap(self, wrapped: bytes) -> bytes:
        self.unwrapped += 1
        if self.down:
            raise CredentialUnavailableError("unreachable", "kms cannot be reached")
        return self.kept[wrapped]


def test_a_wrapped_master_key(tmp_path: Path) -> None:
    """Made and wrapped with the first key, unwrapped once by a reader, again only when it is another."""
    path, kms = tmp_path / "keys.json", Kms()
    masters = [WrappedKey(kms, os.urandom)]
    put(path, masters, "acme", "p", SECRET)
    put(path, masters, "mayo", "p", SECRET)
    assert len(kms.kept) == 1
    local, kms.unwrapped = LocalFile(path, masters, Clock()), 0
    assert found(local) == found(local, "mayo") == SECRET
    put(path, masters, "acme", "p", "sk-new")
    kms.unwrapped = 0
    assert found(local) == "sk-new"
    assert kms.unwrapped == 0
    plain = next(iter(kms.kept.values()))
    assert base64.b64encode(plain) not in path.read_bytes()


def test_a_kms_that_is_down_is_not_asked_for_every_key(tmp_path: Path) -> None:
    """It is a fault for all, asked about once a second; then all is well again."""
    path, kms, clock = tmp_path / "keys.json", Kms(), Clock()
    masters = [WrappedKey(kms, os.urandom)]
    put(path, masters, "acme", "p", SECRET)
    local, kms.unwrapped, kms.down = LocalFile(path, masters, clock), 0, True
    assert {fault(local).reason for _ in range(20)} == {"unreachable"}
    assert kms.unwrapped == 1
    kms.down = False
    clock.now += 1.0
    assert found(local) == SECRET


def test_a_new_master_key(tmp_path: Path) -> None:
    """Old and new are both known, everything is sealed anew, then the old one is not needed: no reader misses a key."""
    path = tmp_path / "keys.json"
    put(path, [source()], "acme", "p", SECRET)
    put(path, [source()], SHARED, "p", "sk-all")
    both = [source(OTHER, "NEW"), source()]
    local = LocalFile(path, both, Clock())
    assert found(local) == SECRET
    put(path, both, "acme", "q", "sk-q")  # goes on under the old one
    assert parse(path.read_bytes()).master_id == MASTER.id

    def again(master: MasterKey, record: Record, secret: Secret) -> Record:
        return seal(
            master, record.pair, secret, version=record.version, set_s=record.set_s, nonce=os.urandom(12)
        )

    assert asyncio.run(reseal(path, both, again)) == (MASTER.id, OTHER.id, 3)
    assert (found(local), found(local, SHARED), found(local, "acme", "q")) == (SECRET, "sk-all", "sk-q")
    assert found(LocalFile(path, [source(OTHER)], Clock())) == SECRET
    assert fault(LocalFile(path, [source()], Clock())).reason == "wrong_master_key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_master_key_file_that_others_may_read(tmp_path: Path, mode: int) -> None:
    """It is refused, with what to do about it."""
    path = tmp_path / "master.key"
    path.write_text(base64.b64encode(MASTER.material).decode() + "\n")
    path.chmod(mode)
    with pytest.raises(CredentialUnavailableError, match="chmod 600"):
        asyncio.run(KeyFromFile(path).open(None))
    path.chmod(0o600)
    assert asyncio.run(KeyFromFile(path).open(None)) == MASTER


@pytest.mark.parametrize(
    "text", ["", " ", "short", "a" * 64 + "zz", "é" * 44, base64.b64encode(b"x" * 31).decode()]
)
def test_what_is_no_master_key(tmp_path: Path, text: str) -> None:
    """The message says what was expected and nothing of what came."""
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_text(text)
    for each in (KeyFromFile(path), KeyFromFile(tmp_path / "absent"), KeyFromEnvironment("M", {"M": text})):
        with pytest.raises(CredentialUnavailableError) as caught:
            asyncio.run(each.open(None))
        assert caught.value.reason == "no_master_key"
        assert not text.strip() or text not in str(caught.value)


def test_both_spellings_of_a_master_key() -> None:
    """Base64 and hex, space around or not."""
    assert MasterKey.parse(f" {MASTER.material.hex()}\n") == MASTER
    assert MasterKey.parse(base64.b64encode(MASTER.material).decode() + "\n") == MASTER
    assert read(Path("/nonexistent/keys.json")) is None
