"""Findings as a service: who sees which, pages, sums, and questions that are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from management_world import World, run

from sovereign_ext.attest.facts import FindingFacts
from sovereign_ext.attest.statement import finding_statement
from sovereign_ext.metering.findings import FINDING_KIND, finding_rows
from sovereign_ext.storage import finding_sums
from sovereign_ext.tlog.service import EntryDraft

sys.path.insert(0, str(Path(__file__).parents[1] / "metering"))

from findings_world import facts, found

pytestmark = pytest.mark.services


async def fill(world: World, *said: FindingFacts) -> None:
    """One entry for each."""
    for each in said:
        draft = EntryDraft(
            FINDING_KIND,
            each.tenant,
            each.decision_id,
            finding_statement(each),
            b"{}",
            findings=finding_rows(each),
        )
        await world.log.append(draft)


def shown(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


async def listed(world: World, key: str = "admin", **fields: Any) -> list[str]:
    """The names on all pages."""
    names: list[str] = []
    token = ""
    while True:
        answer = await world.call("FindingService.ListFindings", key=key, page_token=token, **fields)
        assert answer.code is grpc.StatusCode.OK, answer.text
        names += [each.name for each in answer.message.findings]
        token = answer.message.next_page_token
        if not token:
            return names


@pytest.mark.parametrize("key", ["admin", "auditor", "acme-admin", "acme-auditor", "globex-admin"])
def test_everybody_sees_the_findings_of_their_scope(tmp_path: Path, key: str) -> None:
    """In lists, one by one and in sums; what is outside is as if it were not there."""

    async def scenario(world: World) -> None:
        await fill(world, *(facts(found(), found("jwt"), tenant=name) for name in ("acme", "globex", "acme")))
        owners = {"findings/0": "acme", "findings/1": "globex", "findings/2": "acme"}
        scope = None if key in ("admin", "auditor") else key.split("-", maxsplit=1)[0]
        seen = [
            f"{name}-{place}"
            for name in reversed(owners)
            for place in (2, 1)
            if scope in (None, owners[name])
        ]
        assert await listed(world, key) == await listed(world, key, filter="action = redacted") == seen
        assert await listed(world, key, filter="tenant = globex") == [n for n in seen if "/1-" in n]
        missing = await world.call("FindingService.GetFinding", key=key, name="findings/9-1")
        assert missing.code is grpc.StatusCode.NOT_FOUND
        for name in owners:
            one = await world.call("FindingService.GetFinding", key=key, name=f"{name}-1")
            assert one.message.name == f"{name}-1" if f"{name}-1" in seen else one == missing
        sums = await world.call("FindingService.SummarizeFindings", key=key, group_by=["tenant"])
        counted = {each.tenant: (each.count, each.calls) for each in sums.message.summaries}
        everything = {"acme": (4, 2), "globex": (2, 1)}
        assert counted == {name: n for name, n in everything.items() if scope in (None, name)}

    run(tmp_path, scenario)


def test_what_a_finding_says(tmp_path: Path) -> None:
    """Every member of one, the same in a list; the row and the call that it names are there."""

    async def scenario(world: World) -> None:
        said = facts(found("aws-access-key", "k", version=3), found("of-the-future"), count=140, key="laptop")
        await fill(world, said)
        answer = await world.call("FindingService.GetFinding", key="admin", name="findings/0-1")
        one = shown(answer.message)
        assert one.pop("time").startswith("2026-11-01T00:00:0")
        assert one == {
            "name": "findings/0-1", "tenant": "acme", "key": "laptop", "policy": "standard", "action": "redacted",
            "decision_id": said.decision_id, "index": "0", "audit_row": "auditRows/0", "receipt": "receipts/0",
            "kind": "aws-access-key", "family": "aws", "detector_version": 3, "pointer": "/messages/0/content",
            "length": 40, "number": 1, "fingerprint": said.found[0].fingerprint, "place": 1, "place_count": 140,
        }  # fmt: skip
        page = await world.call("FindingService.ListFindings", key="admin", order_by="index")
        assert page.message.findings[0] == answer.message
        assert page.message.findings[1].family == ""
        row = await world.call("AuditService.GetAuditRow", key="admin", name=one["audit_row"])
        assert row.message.predicate["found"][0]["fingerprint"] == one["fingerprint"]
        assert page.headers == {"cache-control": "private, no-store"}

    run(tmp_path, scenario)


def test_which_credentials_leaked(tmp_path: Path) -> None:
    """By fingerprint: how often, in how many calls, when first and last; what is not told of is counted."""

    async def scenario(world: World) -> None:
        old, new = found("github-token", "old"), found("jwt", "new")
        await fill(world, facts(old, old, found_ms=1_000), facts(new, key="laptop", found_ms=2_000))
        await fill(world, facts(old, new, count=5, found_ms=3_500))
        answer = await world.call(
            "FindingService.SummarizeFindings", key="acme-admin", group_by=["fingerprint", "kind"]
        )
        jwt, token = (shown(each) for each in answer.message.summaries)
        assert token == {
            "kind": "github-token", "fingerprint": old.fingerprint, "count": "3", "calls": "2",
            "first_time": "1970-01-01T00:00:01Z", "last_time": "1970-01-01T00:00:03.500Z",
            "first_finding": "findings/0-1", "last_finding": "findings/2-1",
        }  # fmt: skip
        assert (jwt["count"], jwt["last_finding"]) == ("2", "findings/2-2")
        assert answer.message.untold_count == 3
        one = await world.call(
            "FindingService.SummarizeFindings", key="admin", filter=f"fingerprint = {new.fingerprint}"
        )
        (whole,) = one.message.summaries
        assert (whole.count, whole.calls, whole.HasField("tenant")) == (2, 2, False)
        nothing = await world.call("FindingService.SummarizeFindings", key="globex-admin")
        assert shown(nothing.message) == {"summaries": [], "next_page_token": "", "untold_count": "0"}

    run(tmp_path, scenario)


def test_pages(tmp_path: Path) -> None:
    """Of lists in both orders, and of sums; what is found meanwhile neither repeats nor shifts what is read."""

    async def scenario(world: World) -> None:
        await fill(world, *(facts(found(secret=str(at)), found("jwt", "j")) for at in range(4)))
        rising = [f"findings/{at}-{place}" for at in range(4) for place in (1, 2)]
        assert await listed(world, page_size=3) == rising[::-1]
        assert await listed(world, page_size=3, order_by="index") == rising
        found_sums: list[str] = []
        token = ""
        while True:
            page = await world.call(
                "FindingService.SummarizeFindings", key="admin", group_by=["fingerprint"], page_size=2,
                page_token=token,
            )  # fmt: skip
            found_sums += [each.last_finding for each in page.message.summaries]
            token = page.message.next_page_token
            if not token:
                break
            await fill(world, facts(found(secret="0"), found(secret="meanwhile")))
        assert found_sums == ["findings/3-2", "findings/3-1", "findings/2-1", "findings/1-1", "findings/0-1"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("ListFindings", {"filter": "model = m"}, "invalid_filter"),
        ("ListFindings", {"filter": 'kind = "\0"'}, "invalid_filter"),
        ("ListFindings", {"order_by": "time"}, "invalid_order_by"),
        ("ListFindings", {"page_size": -1}, "invalid_page_size"),
        ("ListFindings", {"page_token": "x"}, "invalid_page_token"),
        ("ListFindings", {"page_token": "YWZ0ZXI6eA"}, "invalid_page_token"),
        ("SummarizeFindings", {"filter": "count > 1"}, "invalid_filter"),
        ("SummarizeFindings", {"group_by": ["kind", "pointer"]}, "invalid_field"),
        ("SummarizeFindings", {"page_size": -1}, "invalid_page_size"),
        ("SummarizeFindings", {"page_token": "YWZ0ZXI6MS0x"}, "invalid_page_token"),
        ("GetFinding", {"name": "findings/1"}, "invalid_name"),
        ("GetFinding", {"name": "findings/1-0"}, "invalid_name"),
        ("GetFinding", {"name": "findings/01-1"}, "invalid_name"),
        ("GetFinding", {"name": "auditRows/1-1"}, "invalid_name"),
        ("GetFinding", {"name": "findings/1-99999999999"}, "invalid_name"),
    ],
)
def test_questions_that_make_no_sense(tmp_path: Path, method: str, fields: dict[str, Any], code: str) -> None:
    """400 with what is wrong."""

    async def scenario(world: World) -> None:
        answer = await world.call(f"FindingService.{method}", key="admin", **fields)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert code.upper() in str(answer.status).upper()

    run(tmp_path, scenario)


def test_sums_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many findings for one question are a 400 that says how to narrow it."""
    monkeypatch.setattr(finding_sums, "MOST_SUMMED", 3)

    async def scenario(world: World) -> None:
        await fill(world, *(facts(found()) for _ in range(3)))
        ask = "FindingService.SummarizeFindings"
        assert (await world.call(ask, key="admin")).code is grpc.StatusCode.OK
        await fill(world, facts(found(), tenant="globex"))
        answer = await world.call(ask, key="admin")
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "TOO_MANY_FINDINGS" in str(answer.status)
        assert "narrow" in answer.text
        assert (await world.call(ask, key="acme-admin")).code is grpc.StatusCode.OK
        assert (await world.call(ask, key="admin", filter="index > 0")).code is grpc.StatusCode.OK

    run(tmp_path, scenario)


def test_programs_have_no_findings(tmp_path: Path) -> None:
    """Keys of the model API do not read them."""

    async def scenario(world: World) -> None:
        for method in ("ListFindings", "GetFinding", "SummarizeFindings"):
            answer = await world.call(f"FindingService.{method}", key="acme")
            assert answer.code is grpc.StatusCode.PERMISSION_DENIED

    run(tmp_path, scenario)
