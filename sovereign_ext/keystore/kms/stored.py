"""What a service has stored, as the text that the keystore hands on."""

from __future__ import annotations

import msgspec

from sovereign_ext.keystore.base import SHARED
from sovereign_ext.keystore.http import Outbound
from sovereign_ext.secret import Secret


def named_tenant(tenant: str) -> str | None:
    """As ``secret_name`` wants it: ``None`` where the keystore asks for the key that all share."""
    return None if tenant == SHARED else tenant


def stored_text(stored: str | bytes, field: str | None, outbound: Outbound) -> Secret:
    """``stored`` without the white space around it, or the member ``field`` of the JSON object that it is.

    Raises ``CredentialUnavailableError`` (``damaged``) if there is nothing.
    """
    try:
        text = stored if isinstance(stored, str) else stored.decode("utf-8")
    except UnicodeDecodeError:
        raise outbound.damaged("what is stored is not text") from None
    if field is not None:
        try:
            members = msgspec.json.decode(text, type=dict[str, object])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise outbound.damaged("what is stored is not a JSON object") from None
        value = members.get(field)
        if not isinstance(value, str):
            raise outbound.damaged(f"what is stored has no text in its member {field}")
        text = value
    if not text.strip():
        raise outbound.damaged("what is stored is empty")
    return Secret(text.strip())
