"""The monitor finds every call that was not handled as its policy demands, and says what it could not judge."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_world import ORIGIN, opened
from log_world import fill as fill_up
from monitor_world import (
    BLOCKING,
    STANDARD,
    STRICT,
    A,
    B,
    C,
    call,
    candidate,
    decide,
    document,
    fill,
    find,
    settle,
    write,
)
from msgspec.structs import replace

from sovereign_ext.attest.facts import Result
from sovereign_ext.cli.main import main
from sovereign_ext.errors import VerificationError
from sovereign_ext.storage.documents import DocumentStore
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.tlog.monitor import EntryMonitor
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.service import Sequenced, TransparencyLog

pytestmark = pytest.mark.services

Scenario = Callable[[TransparencyLog], Awaitable[None]]


def monitor(state: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the command."""
    capsys.readouterr()
    code = main(["log", "monitor", "--state-dir", str(state), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


async def good(log: TransparencyLog) -> None:
    """Strict and standard calls, answered at the first and at the second try, denied, and one in flight."""
    await log.record_keys()
    await write(log, call(1))
    await write(log, call(2, STRICT, "a", "b"))
    await write(log, call(3, STANDARD))
    await settle(log, refused(4))
    unchosen = refused(5, policy="", policy_digest=None, audit="", candidates=(), error_code="invalid_json")
    await settle(log, replace(unchosen, request={}, tier_required=""))
    await write(log, dataclasses.replace(call(6), outcome=None))


def refused(number: int, **changes: Any) -> Any:
    """A call for which no deployment was eligible."""
    made = call(number).outcome
    assert made is not None
    return replace(
        made,
        **{
            "result": Result.DENIED,
            "status": 403,
            "error_code": "no_eligible_deployment",
            "candidates": (C,),
            "attempts": (),
            "deployment": None,
            "provider": None,
            "tier_observed": "none",
            **changes,
        },
    )


def test_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of entry that a gateway writes passes; a decision in flight is noted, not blamed."""
    fill(tmp_path, good)
    code, report = monitor(tmp_path, capsys)
    assert (code, report["violations"], report["unchecked"]) == (0, [], [])
    assert report["kinds"] == {"key-event": 3, "decision": 3, "outcome": 5}
    assert (report["entries"], report["judged"], report["signatures"]) == (11, 7, "checked")
    assert report["notes"] == ["1 decisions have no outcome (yet): in flight, or cut off by a crash"]
    assert monitor(tmp_path, capsys, "--quick")[1]["signatures"] == "not checked"
    assert main(["log", "monitor", "--state-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("nothing wrong\n")


def outcome(**changes: Any) -> Scenario:
    """A strict call whose outcome says something else than it should."""

    async def scenario(log: TransparencyLog) -> None:
        await write(log, call(1), **changes)

    return scenario


def tried(*names: str, policy: dict[str, Any] = STRICT, **changes: Any) -> Scenario:
    async def scenario(log: TransparencyLog) -> None:
        await write(log, call(1, policy, *names), **changes)

    return scenario


async def backwards(log: TransparencyLog) -> None:
    """The outcome first."""
    made = call(1)
    assert made.decision is not None
    assert made.outcome is not None
    await settle(log, replace(made.outcome, decision_index=1))
    await decide(log, made.decision)


async def somebody_elses_decision(log: TransparencyLog) -> None:
    first, second = call(1), call(2)
    assert first.decision is not None
    assert second.outcome is not None
    await decide(log, first.decision)
    await settle(log, replace(second.outcome, decision_index=0))


async def other_request(log: TransparencyLog) -> None:
    first, second = call(1), call(2)
    assert first.outcome is not None
    assert second.outcome is not None
    await write(log, first, digests=second.outcome.digests)


async def planned_the_excluded(log: TransparencyLog) -> None:
    made = call(1)
    assert made.decision is not None
    await decide(log, replace(made.decision, plan=("a", "c")))


def found(policy: dict[str, Any] = STANDARD, told: dict[str, Any] | None = None, **changes: Any) -> Scenario:
    """A call in whose request two credentials were found; ``told`` are changes to the entry that tells of them,
    ``changes`` to the outcome."""

    async def scenario(log: TransparencyLog) -> None:
        outcome = call(1, policy).outcome
        assert outcome is not None
        index = (await find(log, outcome, **told or {})).index
        await settle(log, replace(outcome, **{"findings": 2, "finding_index": index, **changes}))

    return scenario


async def other_tenant(log: TransparencyLog) -> None:
    made = call(1, STANDARD)
    assert made.outcome is not None
    await settle(log, made.outcome, tenant="t2")


VIOLATIONS: dict[str, tuple[Scenario, str]] = {
    "tried the excluded": (tried("c"), "deployment c was tried, but was ruled out under policy strict"),
    "tried it at the second attempt": (tried("a", "c"), "deployment c was tried, but was ruled out"),
    "tried a stranger": (tried("z"), "deployment z was tried, but was not judged"),
    "tried too many": (tried("a", "b", "a"), "3 attempts, policy strict allows 2"),
    "tried in another order": (tried("b", "a"), "tried b, a, planned was a, b"),
    "hid a failed rule": (
        outcome(candidates=(A, B, candidate("c", tier="open"))),
        "deployment c fails tier, the entry says no rule",
    ),
    "made up a failed rule": (
        outcome(candidates=(A, candidate("b", "tier"), C)),
        "deployment b fails no rule, the entry says tier",
    ),
    "other candidates than decided": (
        outcome(candidates=(A, B)),
        "its candidates is not the one of its decision",
    ),
    "no decision": (tried("a", decision_index=None), "audit is strict, but no decision entry is named"),
    "a decision that is not there": (tried("a", decision_index=7), "entry 7 is not an earlier decision"),
    "another call's decision": (
        somebody_elses_decision,
        "entry 0 is not an earlier decision about the same call",
    ),
    "the decision afterwards": (backwards, "entry 1 is not an earlier decision"),
    "another request": (other_request, "it is about another request than its decision"),
    "an excluded deployment in the plan": (
        planned_the_excluded,
        "deployment c was planned, but was ruled out",
    ),
    "too low a tier": (
        outcome(tier_observed="open"),
        "tier open was observed, policy strict requires attested",
    ),
    "no tier": (outcome(tier_observed="none"), "tier none was observed"),
    "another tier required": (outcome(tier_required="open"), "tier_required is 'open'"),
    "another policy's name": (outcome(policy="lax"), "policy is 'lax'"),
    "another audit": (outcome(audit="standard"), "audit is 'standard'"),
    "answered by another": (
        outcome(deployment="b"),
        "deployment b answered, but was not the last that was tried",
    ),
    "found, but not told": (found(finding_index=None), "no entry is named that tells of them"),
    "told in an entry that is not there": (found(finding_index=9), "entry 9 does not tell what was found"),
    "told of another call": (found(told={"decision_id": "dec-2"}), "entry 0 does not tell what was found"),
    "told of less": (found(told={"count": 1}), "2 places were found, entry 0 tells of 1"),
    "told of another request": (
        found(told={"client_request": bytes(32)}),
        "it is about another request than what was found in, entry 0",
    ),
    "sent what was to be blocked": (found(BLOCKING), "policy blocking blocks such calls"),
    "answered by nobody": (outcome(deployment=None), "the call was answered, but by no deployment"),
    "denied though eligible": (
        outcome(error_code="no_eligible_deployment"),
        "the call was denied, but a was eligible",
    ),
    "tried under no policy": (
        tried("a", policy=STANDARD, policy_digest=None),
        "deployments were tried under no policy",
    ),
    "filed under another tenant": (other_tenant, "filed under another decision or tenant"),
    "unknown facts": (outcome(candidates=({**A, "x": 1}, B, C)), "not one this verifier knows"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is found, with its index and reason; exit code 1."""
    scenario, reason = VIOLATIONS[name]
    fill(tmp_path, scenario)
    code, report = monitor(tmp_path, capsys)
    assert code == 1
    assert report["violations"]
    assert any(reason in text for text in report["violations"]), report["violations"]
    assert all(text.startswith("entry ") for text in report["violations"])


def test_the_order_of_plan_and_attempts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan's element may be left out, as when a circuit opened in between."""
    fill(tmp_path, tried("b"))
    assert monitor(tmp_path, capsys)[0] == 0


def sql(state: Path, statement: str) -> None:
    with sqlite3.connect(state / "log.db") as connection:
        connection.execute(statement)
    connection.close()


def test_what_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy document that is gone, changed or of a newer release: exit code 2, counted with its reason."""
    fill(tmp_path, good)
    strict = document(STRICT).digest
    sql(tmp_path, f"UPDATE documents SET body = '{{}}' WHERE digest = '{strict}'")
    code, report = monitor(tmp_path, capsys)
    assert (code, report["violations"], report["judged"]) == (2, [], 1)
    assert report["unchecked"] == [
        f"6 of the entries from 3 on: the policy document kept under {strict} was changed"
    ]
    sql(tmp_path, "DELETE FROM documents")
    assert monitor(tmp_path, capsys)[1]["unchecked"][0].endswith(f"the policy document {strict} is not kept")
    newer = {**STANDARD, "unheard_of": True}

    async def scenario(log: TransparencyLog) -> None:
        await log.keep([document(newer)])
        await write(log, call(9, newer))

    fill(tmp_path, scenario)
    code, report = monitor(tmp_path, capsys)
    assert code == 2
    assert any("not one this verifier knows" in text for text in report["unchecked"])


def test_a_log_that_is_damaged_is_a_violation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that fsck finds is found here too; signatures are not looked at with --quick."""
    fill(tmp_path, good)
    sql(
        tmp_path,
        "UPDATE log_entries SET envelope = (SELECT envelope FROM log_entries WHERE idx = 4) WHERE idx = 6",
    )
    code, report = monitor(tmp_path, capsys)
    assert code == 1
    assert any(text.startswith("entry 6: the envelope's PAE has") for text in report["violations"])
    sql(tmp_path, "DELETE FROM log_entries WHERE idx = 7")
    assert "entry 7 is missing" in monitor(tmp_path, capsys, "--quick")[1]["violations"]


def test_where_there_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing could be checked: exit code 2, with the reason."""
    code, report = monitor(tmp_path / "none", capsys)
    assert (code, report["ok"]) == (2, False)
    assert "there is no log" in report["unchecked"][0]


def attestation(placed: Sequenced, **changes: Any) -> dict[str, Any]:
    """What a client was given, as far as promises go."""
    made = {
        "rekor_index": placed.index,
        "log": {"origin": ORIGIN, "leaf_hash": b64encode(placed.leaf_hash).decode()},
        "promise": {"time_ms": placed.time_ms, "signature": b64encode(placed.promise).decode()},
    }
    return {**made, **changes}


def test_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each attestation that a client kept is looked up: another leaf there, or none, is a broken promise."""
    state, given, placed = tmp_path / "log", tmp_path / "given.jsonl", list[Sequenced]()

    async def scenario(log: TransparencyLog) -> None:
        for number in range(3):
            found = await write(log, call(number, STANDARD))
            assert found is not None
            placed.append(found)

    fill(state, scenario)
    given.write_text("".join(json.dumps(attestation(each)) + "\n" for each in placed))
    code, report = monitor(state, capsys, "--promises", str(given))
    assert (code, report["promises_kept"], report["violations"]) == (0, 3, [])
    bad = [
        attestation(placed[0], rekor_index=1),
        attestation(placed[0], promise={"time_ms": 1, "signature": ""}),
        attestation(placed[0], log={"origin": "x", "leaf_hash": ""}),
        {},
    ]
    given.write_text("".join(json.dumps(each) + "\n" for each in bad) + "nonsense\n")
    code, report = monitor(state, capsys, "--promises", str(given))
    assert (code, report["promises_kept"], len(report["violations"])) == (1, 0, 5)
    # A log that was cut back and begun anew under the same keys.
    given.write_text("".join(json.dumps(attestation(each)) + "\n" for each in placed))
    keys = tmp_path / "keys"
    shutil.copytree(state / "keys", keys)
    shutil.rmtree(state)
    state.mkdir()
    shutil.copytree(keys, state / "keys")
    asyncio.run(_begin_anew(state))
    code, report = monitor(state, capsys, "--promises", str(given))
    assert code == 1
    assert [text.split(": ", 1)[1][:28] for text in report["violations"]] == [
        f"index {index} was promised to leaf" for index in range(3)
    ]


async def _begin_anew(state: Path) -> None:
    async with opened(state) as log:
        await log.keep([document(STANDARD)])
        await write(log, call(7, STANDARD))


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory, and the URL under which a log's tiles in ``DIR/log/tiles`` are public."""
    reader = LogReader(tmp_path / "log" / "tiles")

    class Public(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = reader.get(self.path.removeprefix("/"))
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Public)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def follow(
    shown: tuple[Path, str], capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any]]:
    directory, url = shown
    keys = str(directory / "log" / "public" / "log-keys.json")
    arguments = ["--url", url, "--keys", keys, "--seen", str(directory / "seen"), *options]
    capsys.readouterr()
    code = main(["log", "monitor", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def grow(state: Path, number: int) -> None:
    async def run() -> None:
        async with opened(state) as log:
            await fill_up(log, number)

    asyncio.run(run())


def test_a_public_log_is_followed(shown: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each run reads what is new since the last, over borders of tiles; what is not public is named."""
    state = shown[0] / "log"
    for before, number in ((0, 3), (3, 0), (3, 300), (303, 209), (512, 1)):
        grow(state, number)
        code, report = follow(shown, capsys)
        assert (code, report["violations"], report["unchecked"]) == (0, [], [])
        assert (report["seen_before"], report["new_entries"], report["size"]) == (
            before,
            number,
            before + number,
        )
        assert len(report["signers"]) <= 1
        assert "decisions were not judged" in report["notes"][0]


def test_the_operator_s_own_monitor_remembers_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--seen`` a log that was replaced as a whole is noticed, although it is sound in itself."""
    state, seen = tmp_path / "log", str(tmp_path / "seen")
    fill(state, good)
    assert monitor(state, capsys, "--seen", seen)[1]["new_entries"] == 11
    assert monitor(state, capsys, "--seen", seen)[1]["new_entries"] == 0
    keys = tmp_path / "keys"
    shutil.copytree(state / "keys", keys)
    shutil.rmtree(state)
    state.mkdir()
    shutil.copytree(keys, state / "keys")
    fill(state, good)
    assert monitor(state, capsys)[0] == 0
    code, report = monitor(state, capsys, "--seen", seen)
    assert code == 1
    assert "no longer those of the tree of size 11" in report["violations"][0]


def test_promises_of_a_public_log(shown: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """They can be checked without the statements: the leaf is proven to be in the signed tree."""
    placed: list[Sequenced] = []

    async def scenario(log: TransparencyLog) -> None:
        for number in range(5):
            found = await write(log, call(number, STANDARD))
            assert found is not None
            placed.append(found)

    fill(shown[0] / "log", scenario)
    given = shown[0] / "given"
    given.write_text("".join(json.dumps(attestation(each)) + "\n" for each in placed))
    code, report = follow(shown, capsys, "--promises", str(given))
    assert (code, report["promises_kept"]) == (0, 5)
    given.write_text(json.dumps(attestation(placed[1], rekor_index=2)))
    assert follow(shown, capsys, "--promises", str(given))[0] == 1


def test_a_fork_and_a_rollback_are_violations(
    shown: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint seen before is kept as evidence."""
    directory, state = shown[0], shown[0] / "log"
    grow(state, 5)
    shutil.copytree(state, directory / "early")
    grow(state, 5)
    assert follow(shown, capsys)[0] == 0
    seen = (directory / "seen").read_bytes()

    def show(other: Path) -> None:
        shutil.rmtree(state)
        shutil.copytree(other, state)

    show(directory / "early")
    code, report = follow(shown, capsys)
    assert (code, report["violations"]) == (1, ["the log shows size 5, it had signed size 10 before"])
    grow(state, 8)
    code, report = follow(shown, capsys)
    assert code == 1
    assert "no longer those of the tree of size 10" in report["violations"][0]
    assert (directory / "seen").read_bytes() == seen


def test_a_public_log_that_cannot_be_read(
    shown: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """No log, no tile, no server, no key: exit code 2."""
    directory, url = shown
    grow(directory / "log", 3)
    shutil.rmtree(directory / "log" / "tiles" / "tile")
    assert follow(shown, capsys)[1]["unchecked"] == ["the log has no tile/entries/000.p/3"]
    (directory / "log" / "tiles" / "checkpoint").unlink()
    assert follow(shown, capsys)[1]["unchecked"] == ["the log has no checkpoint"]
    for arguments in (
        ["--url", url],
        ["--url", url, "--key", "x", "--seen", str(directory / "seen")],
        ["--url", "http://127.0.0.1:1", "--keys", str(directory / "log/public/log-keys.json"), "--seen", "x"],
    ):
        assert main(["log", "monitor", *arguments]) == 2
        assert "not checked: " in capsys.readouterr().out


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_random_logs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Of random calls, each honest or with one fault, exactly the faulty ones are named."""
    faults: dict[int, bool] = {}
    state = tmp_path_factory.mktemp("random") / "log"

    async def scenario(log: TransparencyLog) -> None:
        for number in range(data.draw(st.integers(0, 12))):
            policy = data.draw(st.sampled_from([STRICT, STANDARD]))
            names = data.draw(st.sampled_from([("a",), ("b",), ("a", "b"), ("c",), ("a", "c")]))
            tier = data.draw(st.sampled_from(["open", "attested", "sealed"]))
            made = call(number, policy, *names, tier_observed=tier)
            placed = await write(log, made)
            assert placed is not None
            faults[placed.index] = "c" in names or (policy is STRICT and tier == "open")

    fill(state, scenario)
    assert _violations(state) == {index for index, faulty in faults.items() if faulty}


def _violations(state: Path) -> set[int]:

    engine = open_sqlite(state / "log.db", read_only=True)
    store, found = EntryStore(engine), set()
    judge = EntryMonitor(store, DocumentStore(engine))
    for row in store.rows(0, store.size()):
        try:
            judge.row(row)
        except VerificationError:
            found.add(row.index)
    store.close()
    return found
