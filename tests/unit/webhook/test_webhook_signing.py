"""Signatures after Standard Webhooks: the specification's arithmetic, judged by its reference implementation."""

from __future__ import annotations

import base64
import time

import pytest
from judging import standard_webhooks
from webhook_receiver import new_secret, signature

from sovereign_ext.secret import Secret
from sovereign_ext.webhook.signing import signed_headers, signing_key


def key(text: str) -> bytes:
    return signing_key(Secret(text))


def test_a_signature_is_over_id_time_and_body() -> None:
    """As code of the test computes it; one signature a key, in their order."""
    secrets = [new_secret(), new_secret()]
    body = '{"type":"finding.recorded","data":"Grüße"}'.encode()
    headers = signed_headers([key(each) for each in secrets], "evt_1", 1_795_000_000, body)
    expected = [signature(each, "evt_1", "1795000000", body) for each in secrets]
    assert headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1795000000",
        "webhook-signature": " ".join(expected),
    }


@pytest.mark.services
def test_the_reference_implementation_accepts_them() -> None:
    """With either of two secrets, and refuses another secret, id, time or body."""
    old, new = new_secret(), new_secret()
    now = int(time.time())
    body = '{"type":"webhook.test","data":{"name":"é"}}'
    headers = signed_headers([key(old), key(new)], "evt_2", now, body.encode())
    with standard_webhooks() as judge:
        for secret in (old, new):
            event = judge.ask("verify", secret=secret, headers=headers, body=body)
            assert event["data"]["name"] == "é"
        changes = {"webhook-id": "evt_3", "webhook-timestamp": str(now + 1)}
        for name, value in changes.items():
            with pytest.raises(ValueError, match="No matching signature"):
                judge.ask("verify", secret=old, headers={**headers, name: value}, body=body)
        with pytest.raises(ValueError, match="No matching signature"):
            judge.ask("verify", secret=old, headers=headers, body=body + " ")
        with pytest.raises(ValueError, match="No matching signature"):
            judge.ask("verify", secret=new_secret(), headers=headers, body=body)
        late = signed_headers([key(old)], "evt_2", now - 3600, body.encode())
        with pytest.raises(ValueError, match="too old"):
            judge.ask("verify", secret=old, headers=late, body=body)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AAAA", "does not begin with whsec_"),
        ("", "does not begin"),
        ("whsec_", "holds 0 bytes"),
        ("whsec_not base64!", "is not base64"),
        ("whsec_Grüße", "is not base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "holds 23 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        key(text)
    assert len(text) <= 6 or text[6:] not in str(caught.value)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_keys_of_all_lengths_that_the_specification_allows(length: int) -> None:
    assert key("whsec_" + base64.b64encode(bytes(range(length))).decode()) == bytes(range(length))
