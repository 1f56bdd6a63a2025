"""What an event says: the entry's facts, field by field, and no content."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from webhook_world import NOW_MS, ORIGIN, entry, event, facts

from sovereign_ext.errors import VerificationError
from sovereign_ext.webhook.event import finding_event, trial_event


def test_an_event_has_these_fields_and_no_others() -> None:
    said = facts("github-token", "jwt")
    made = event(said)
    assert made is not None
    assert json.loads(made.body) == {
        "type": "finding.recorded",
        "timestamp": "2026-11-18T11:06:40.000Z",
        "data": {
            "log": ORIGIN,
            "index": 7,
            "receipt": "receipts/7",
            "decision_id": said.decision_id,
            "tenant": "t",
            "key": "t-1",
            "policy": "default",
            "action": "redacted",
            "count": 2,
            "found": [
                {
                    "kind": kind,
                    "version": 1,
                    "pointer": "/messages/0",
                    "length": 40,
                    "number": 1,
                    "fingerprint": f"{number:064x}",
                }
                for number, kind in enumerate(("github-token", "jwt"))
            ],
        },
    }


def test_an_id_is_of_the_entry_and_the_receiver() -> None:
    """The same again, another one for another entry, receiver, or log of the same name and index."""
    said = facts("jwt")
    sent = entry(said)
    ids = [
        finding_event(each, origin, webhook, ()).id  # type: ignore[union-attr]
        for each, origin, webhook in (
            (sent, ORIGIN, "a"),
            (sent, ORIGIN, "a"),
            (sent, ORIGIN, "b"),
            (sent, "other.test/log", "a"),
            (replace(sent, index=8), ORIGIN, "a"),
            (replace(sent, leaf_hash=bytes(32)), ORIGIN, "a"),
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    assert all("." not in each and each.isascii() for each in ids)


def test_only_the_kinds_that_were_asked_for() -> None:
    """One of them among others is enough, and the event then tells of all."""
    said = facts("github-token", "jwt")
    assert event(said, "npm-token") is None
    made = event(said, "jwt", "npm-token")
    assert made is not None
    assert len(json.loads(made.body)["data"]["found"]) == 2


def test_an_entry_that_does_not_tell_of_all_places_goes_to_everybody() -> None:
    """What it leaves out may be what was asked for."""
    assert event(facts("jwt", places=101), "npm-token") is not None


@pytest.mark.parametrize("envelope", [b"", b"{}", b'{"payload":"e30=","payloadType":"x","signatures":[]}'])
def test_an_entry_that_cannot_be_read_says_so(envelope: bytes) -> None:
    with pytest.raises(VerificationError):
        finding_event(replace(entry(facts("jwt")), envelope=envelope), ORIGIN, "siem", ())


def test_a_trial_tells_of_nothing() -> None:
    made = trial_event(ORIGIN, "siem", NOW_MS, b"1")
    assert json.loads(made.body) == {
        "type": "webhook.test",
        "timestamp": "2026-11-18T11:06:40.000Z",
        "data": {"log": ORIGIN, "webhook": "siem"},
    }
    assert made.id != trial_event(ORIGIN, "siem", NOW_MS, b"2").id
