"""The fenced row of a shared log, against a model, on both databases, with a clock that jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Engine, delete, literal, text, update

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_postgres, open_sqlite
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.storage.published import LONGEST_LEASE_MS, PublishedStore
from sovereign_ext.storage.schema import log_notes, log_published

pytestmark = pytest.mark.services

KEYS = "log=00"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = open_sqlite(tmp_path / "log.db")
    else:
        made = open_postgres(Secret(request.getfixturevalue("postgres").url))
    ensure_schema(made)
    EntryStore(made).create_head("origin")
    yield made
    made.dispose()


@dataclass
class Model:
    """What the row should be. Times are milliseconds of a clock that the test sets."""

    now: int = 1_000_000
    holder: str = ""
    token: int = 0
    expires: int = 0
    size: int = 0
    note: bytes = b"empty"
    notes: dict[str, bytes] = field(default_factory=dict)

    def free(self, holder: str) -> bool:
        return self.expires <= self.now or self.expires > self.now + LONGEST_LEASE_MS or self.holder == holder


TOKENS = st.integers(0, 6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.sampled_from([1, 999, 1_000, 5_000, -3_000, -500_000])),
        st.tuples(st.just("acquire"), st.sampled_from("abc"), st.sampled_from([1_000, 3_000])),
        st.tuples(st.just("renew"), TOKENS, st.sampled_from([1_000, 3_000])),
        st.tuples(st.just("release"), TOKENS),
        st.tuples(st.just("replace"), TOKENS, st.booleans(), st.integers(0, 5)),
        st.tuples(st.just("attach"), TOKENS, st.integers(0, 5)),
        st.tuples(st.just("note"), TOKENS, st.sampled_from("xy"), st.binary(max_size=3)),
    ),
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_row_is_what_the_model_says(engine: Engine, steps: list[tuple[Any, ...]]) -> None:
    """Any order of steps of three processes, with tokens old and new: the same answers, the same row. Tokens only grow,
    and so do sizes."""
    model = Model()
    store = PublishedStore(engine, now_ms=lambda: literal(model.now, BigInteger))
    with engine.begin() as connection:
        connection.execute(delete(log_published))
        connection.execute(delete(log_notes))
    store.begin(model.note, KEYS)
    for step in steps:
        before = (model.token, model.size)
        assert take(store, model, step) == expect(model, step), step
        standing = store.standing()
        assert standing is not None
        assert (standing.holder, standing.token, standing.size, standing.note) == (
            model.holder,
            model.token,
            model.size,
            model.note,
        )
        assert store.notes() == model.notes
        assert standing.token >= before[0]
        assert standing.size >= before[1]
        left = model.expires - model.now
        assert standing.left_ms == (0 if left > LONGEST_LEASE_MS else max(0, left))


def take(store: PublishedStore, model: Model, step: tuple[Any, ...]) -> Any:
    match step:
        case ("acquire", holder, lease):
            return store.acquire(holder, lease)
        case ("renew", token, lease):
            return store.renew(token, lease)
        case ("release", token):
            return store.release(token)
        case ("replace", token, known, size):
            return store.replace(token, model.note if known else b"old", size, b"%d %d" % (token, size))
        case ("attach", token, size):
            return store.attach(token, size, b"cosigned")
        case ("note", token, name, body):
            return store.put_note(token, name, body, 1)
    return None


def expect(model: Model, step: tuple[Any, ...]) -> Any:
    match step:
        case ("tick", by):
            model.now += by
        case ("acquire", holder, lease):
            if not model.free(holder):
                return None
            model.holder, model.token, model.expires = holder, model.token + 1, model.now + lease
            return model.token
        case ("renew", token, lease):
            held = token == model.token and model.expires > model.now
            if held:
                model.expires = model.now + lease
            return held
        case ("release", token):
            if token == model.token:
                model.expires = 0
        case ("replace", token, known, size):
            allowed = token == model.token and known and size > model.size
            if allowed:
                model.size, model.note = size, b"%d %d" % (token, size)
            return allowed
        case ("attach", token, size):
            return token == model.token and size == model.size
        case ("note", token, name, body):
            if token == model.token:
                model.notes[name] = body
            return token == model.token
    return None


def test_the_databases_clock_decides(engine: Engine) -> None:
    """Without a clock of the test's: a lease is over when the database says so, and nobody gets it before."""
    store = PublishedStore(engine)
    store.begin(b"empty", KEYS)
    assert store.acquire("a", 30_000) == 1
    assert store.acquire("b", 30_000) is None
    standing = store.standing()
    assert standing is not None
    assert 20_000 < standing.left_ms <= 30_000
    assert store.renew(1, 1)
    while (found := store.acquire("b", 30_000)) is None:
        pass
    assert found == 2
    assert not store.renew(1, 30_000)


def test_a_log_with_entries_and_without_a_signed_checkpoint(engine: Engine) -> None:
    """The row is not made anew over entries: somebody signed them, and nobody knows what."""
    EntryStore(engine).append([Row("k", "t", "d", 1, b"b", bytes(32), b"{}", b"{}")])
    with pytest.raises(LogCorrupt, match="no signed checkpoint was found"):
        PublishedStore(engine).begin(b"empty", KEYS)
    assert PublishedStore(engine).standing() is None


def test_beginning_twice_keeps_the_first(engine: Engine) -> None:
    """Whoever comes second finds the first one's keys and note."""
    store = PublishedStore(engine)
    store.begin(b"first", "log=1")
    store.begin(b"second", "log=2")
    standing = store.standing()
    assert standing is not None
    assert (standing.note, standing.shown, standing.keys) == (b"first", b"first", "log=1")


def test_two_who_acquire_at_once(postgres: Any) -> None:
    """Eight connections ask for a free lease at the same moment, round after round: one gets it."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    engine = open_postgres(Secret(postgres.url))
    ensure_schema(engine)
    EntryStore(engine).create_head("origin")
    store = PublishedStore(engine)
    store.begin(b"empty", KEYS)
    with ThreadPoolExecutor(8) as threads:
        for token in range(1, 21):
            got = list(threads.map(lambda n: store.acquire(f"p{n}", 30_000), range(8)))
            assert [each for each in got if each is not None] == [token]
            store.release(token)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM log_published")).scalar_one() == 1
        connection.execute(update(log_published).values(expires_ms=0))
    engine.dispose()
