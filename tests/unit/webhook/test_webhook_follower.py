"""Following the log for one receiver: in order, at least once, with pauses, and with an end to patience."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from services import Backend
from sqlalchemy import Engine
from webhook_world import HOUR_MS, NOW_MS, SECRET, TAKEN, Box, World, hook, steps

from sovereign_ext.webhook.client import Answer, Result
from sovereign_ext.webhook.follower import AT_ONCE, BETWEEN_S, LOOK_S

FAILED = Answer(Result.FAILED, "answered 500")
GONE = Answer(Result.GONE, "answered 410")


@pytest.fixture
def engine(database: Backend) -> Engine:
    return database.engine()


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    world = World(engine)
    yield world
    world.entries.close()


def test_findings_are_told_in_the_order_of_the_log(world: World) -> None:
    """Other entries are none of its business; when all is told it waits."""
    follower, box = world.follower(), Box()
    wanted = []
    for _ in range(3):
        world.add(kind="outcome")
        wanted.append(world.add())
    assert steps(follower, box, 5) == [BETWEEN_S] * 3 + [LOOK_S] * 2
    assert box.indices == wanted
    row = world.row()
    assert (row.next, row.delivered, row.delivered_ms) == (wanted[-1] + 1, 3, NOW_MS)
    assert world.store.waiting(row.next) == 0


def test_a_finding_that_no_checkpoint_covers_is_not_told_yet(world: World) -> None:
    follower, box = world.follower(), Box()
    world.add()
    world.hidden = 1
    assert steps(follower, box) == [LOOK_S]
    assert box.got == []
    world.hidden = 0
    steps(follower, box)
    assert box.indices == [0]


def test_a_new_receiver_begins_where_it_is_told(world: World) -> None:
    """And one that is known goes on where it was, wherever it would begin."""
    first, second = world.add(), world.add()
    follower, box = world.follower(start=second), Box()
    steps(follower, box, 2)
    assert box.indices == [second]
    again, box = world.follower(start=first), Box()
    assert steps(again, box) == [LOOK_S]


def test_tenants_and_kinds_restrict_what_is_told(world: World) -> None:
    """What was not asked for is passed over for good, however much of it there is."""
    for _ in range(AT_ONCE + 1):
        world.add("jwt")
    world.add("github-token", tenant="other")
    wanted = world.add("github-token")
    world.add("jwt")
    follower, box = world.follower(hook(tenants=["t"], kinds=["github"])), Box()
    pauses = steps(follower, box, 5)
    assert box.indices == [wanted]
    assert pauses[-1] == LOOK_S
    assert world.row().next == world.size
    assert world.row().delivered == 1


def test_a_failure_is_tried_again_after_a_growing_pause_and_the_rest_waits(world: World) -> None:
    """1, 2, 4 seconds; the same event under the same id, then the next."""
    first, second = world.add(), world.add()
    follower, box = world.follower(), Box(FAILED, FAILED, FAILED)
    for pause_s in (1, 2, 4):
        steps(follower, box)
        assert world.row().retry_ms == world.now_ms + pause_s * 1000
        before = len(box.got)
        assert steps(follower, box) == [min(pause_s, LOOK_S)]
        assert len(box.got) == before
        world.now_ms += pause_s * 1000
    row = world.row()
    assert (row.attempts, row.last_error, row.failing_ms) == (3, "answered 500", NOW_MS)
    steps(follower, box, 2)
    assert box.indices == [first] * 4 + [second]
    assert len(set(box.ids[:4])) == 1
    row = world.row()
    assert (row.attempts, row.last_error, row.failing_ms, row.retry_ms) == (0, None, None, 0)


def test_a_receiver_may_ask_for_a_longer_pause_not_for_a_shorter_one(world: World) -> None:
    world.add()
    follower = world.follower()
    for asked_s, pause_s in ((90.0, 90), (0.0, 2)):
        steps(follower, Box(Answer(Result.FAILED, "answered 429", asked_s)))
        assert world.row().retry_ms == world.now_ms + pause_s * 1000
        world.now_ms = world.row().retry_ms


def test_a_clock_that_is_set_back_does_not_stop_deliveries_for_long(world: World) -> None:
    """An hour at most, which a receiver may have asked for."""
    world.add()
    follower = world.follower()
    steps(follower, Box(FAILED))
    world.now_ms -= 1000 * HOUR_MS
    assert follower._pause_left(world.row()) == 3600


def test_every_attempt_is_signed_anew(world: World) -> None:
    """Receivers refuse what is older than minutes."""
    world.add()
    follower, box = world.follower(), Box(FAILED)
    steps(follower, box)
    world.now_ms += HOUR_MS
    steps(follower, box)
    (before, body), (after, same) = box.got
    assert body == same
    assert int(after["webhook-timestamp"]) - int(before["webhook-timestamp"]) == 3600
    assert before["webhook-signature"] != after["webhook-signature"]


def test_410_ends_it_until_the_url_changes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Then it goes on where it stopped; nothing of what came in between is lost."""
    first = world.add()
    follower, box = world.follower(), Box(GONE)
    steps(follower, box)
    second = world.add()
    world.now_ms += 100 * HOUR_MS
    assert steps(follower, box, 3) == [LOOK_S] * 3
    assert box.indices == [first]
    assert world.row().gone_ms == NOW_MS
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    steps(world.follower(), box)  # a restart changes nothing
    assert len(box.got) == 1
    moved = world.follower(hook(url="https://new.test/hook"))
    steps(moved, box, 2)
    assert box.indices == [first, first, second]
    assert world.row().gone_ms is None


def test_an_operator_may_have_it_tried_again_also_from_an_earlier_entry(world: World) -> None:
    first, second = world.add(), world.add()
    follower, box = world.follower(), Box(TAKEN, GONE)
    steps(follower, box, 2)
    assert world.store.resume("siem")
    steps(follower, box)
    assert world.store.resume("siem", first)
    steps(follower, box, 2)
    assert box.indices == [first, second, second, first, second]
    assert len(set(box.ids)) == 2
    assert not world.store.resume("nobody")


def test_after_days_of_failures_old_events_are_given_up_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are older than the patience; younger ones are still to come, and nothing is given up silently."""
    old = [world.add() for _ in range(AT_ONCE + 10)]
    follower, box = world.follower(hook(give_up_hours=72)), Box(*[FAILED] * 3)
    steps(follower, box)
    world.now_ms += HOUR_MS
    young = world.add()
    world.now_ms = NOW_MS + 72 * HOUR_MS - 1
    steps(follower, box)
    assert world.row().given_up == 0
    world.now_ms = NOW_MS + 72 * HOUR_MS + 10_000
    steps(follower, box)
    row = world.row()
    assert (row.given_up, row.next, row.delivered) == (len(old), old[-1] + 1, 0)
    assert f"{len(old)} events are given up after 72 h of failures, of entries 0 to {old[-1]}" in caplog.text
    world.now_ms += HOUR_MS
    steps(follower, box)
    assert box.indices == [0, 0, 0, young]
    assert (world.row().delivered, world.row().failing_ms) == (1, None)


def test_age_alone_gives_nothing_up(world: World) -> None:
    """A gateway that was away for a year, or a receiver that begins with history, is told of everything."""
    wanted = [world.add() for _ in range(3)]
    world.now_ms += 9000 * HOUR_MS
    follower, box = world.follower(), Box(FAILED)
    steps(follower, box)
    world.now_ms += HOUR_MS
    steps(follower, box, 3)
    assert box.indices == [wanted[0], *wanted]
    assert world.row().given_up == 0


def test_of_two_that_deliver_at_once_only_one_moves_the_place(world: World) -> None:
    """As when a frozen router thaws: a repetition under the same id, and never a step back."""
    first, second, third = (world.add() for _ in range(3))
    slow, fast, box = world.follower(), world.follower(), Box()
    row = world.row()
    steps(fast, box, 2)
    assert not world.store.delivered(row, first, NOW_MS)
    assert not world.store.failed(row, "answered 500", NOW_MS, NOW_MS + 1)
    assert not world.store.gone(row, "answered 410", NOW_MS)
    assert not world.store.given_up(row, 99, 9)
    assert not world.store.moved(row, 99)
    assert (world.row().next, world.row().attempts, world.row().delivered) == (third, 0, 2)
    steps(slow, box)
    assert box.indices == [first, second, third]


def test_who_does_not_lead_delivers_nothing(world: World) -> None:
    world.add()
    world.leads = False
    follower, box = world.follower(), Box()
    assert steps(follower, box) == [LOOK_S]
    world.leads = True
    steps(follower, box)
    assert len(box.got) == 1


def test_a_crash_after_the_answer_means_a_repetition_under_the_same_id(world: World) -> None:
    """The place is written after the answer: whoever ends in between has not lost the event."""
    world.add()
    follower, box = world.follower(), Box()

    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    box.before = crash
    with pytest.raises(Crash):
        steps(follower, box)
    box.before = lambda: None
    steps(world.follower(), box, 2)
    assert box.indices == [0, 0]
    assert len(set(box.ids)) == 1


def test_a_secret_that_cannot_be_read_is_a_failure_like_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent unsigned; the event waits until the secret is there."""
    world.add()
    unreadable = hook(secrets=[{"env": "NONE"}])
    follower, box = world.follower(unreadable), Box()
    steps(follower, box)
    assert box.got == []
    error = world.row().last_error
    assert error is not None
    assert "findings.webhooks[0].secrets[0]" in error
    assert "NONE is not set" in error
    assert SECRET not in caplog.text


def test_an_entry_that_cannot_be_read_is_passed_over_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken, good = world.add(envelope=b"{}"), world.add()
    follower, box = world.follower(), Box()
    steps(follower, box, 2)
    assert box.indices == [good]
    assert f"entry {broken} is passed over" in caplog.text


def test_the_same_trouble_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.add()
    follower = world.follower()
    other = Answer(Result.FAILED, "no answer within 15 s")
    box = Box(FAILED, FAILED, FAILED, other, other)
    for _ in range(6):
        steps(follower, box)
        world.now_ms += HOUR_MS
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "webhook siem: entry 0: answered 500",
        "webhook siem: entry 0: no answer within 15 s",
        "webhook siem: takes events again",
    ]
