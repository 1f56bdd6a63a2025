"""Azure's secrets that count beside their names: account keys, SAS signatures, client secrets, AI keys.

Formats: an account key is 64 bytes in base64 (Storage, Cosmos DB) or 32 (Batch), a shared access key 32
(Service Bus, Event Hubs, IoT Hub); both count after the name that connection strings and settings give them.
The signature of a shared access signature (SAS) is an HMAC-SHA256 in base64 and counts beside the other
parameters of one. Microsoft Entra's client secrets have ``8Q~`` at their fourth character and 40 characters,
or ``7Q~`` and 37. Older keys of Azure OpenAI and the other AI services are 32 hexadecimal digits, which say
nothing alone: they count after the names that Azure gives them. Keys with a fixed signature are in
:mod:`sovereign_ext.scanner.detectors.azure_keys`.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import begins_line, ends

_IS: Final = rb"[\"']?\s{0,4}(?:[=:]|=>)\s{0,4}[\"']?"
"""Between a name and its value: ``Name=``, ``"name": "``, ``name = '``."""

_ACCOUNT_KEY: Final = re.compile(
    rb"(?i:account_?key|storage_?key)" + _IS + rb"([A-Za-z0-9+/]{85}[AQgw]==|[A-Za-z0-9+/]{43}=)(?!=)"
)
_SHARED_KEY: Final = re.compile(rb"(?i:accesskey|shared_?access_?key)" + _IS + rb"([A-Za-z0-9+/]{43}=)(?!=)")
_SIGNATURE: Final = re.compile(rb"sig=([A-Za-z0-9+/_-]{43}=?)(?!=)")
_PARAMETERS: Final = re.compile(rb"[?&\s](?:sv|se|sp|sr|st|ss)=[^&\s]")
_SAS: Final = 768
"""Bytes on either side in which the other parameters of a SAS stand."""

_CLIENT: Final = re.compile(rb"[A-Za-z0-9._~-]{3}(?:8Q~[A-Za-z0-9._~-]{34}|7Q~[A-Za-z0-9._~-]{31})")
_CLIENT_BEFORE: Final = 3
_FURTHER: Final = re.compile(rb"[A-Za-z0-9+/_~]")
"""What would belong to a secret."""

_CLIENT_LETTER: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~-")

_HEX_KEY: Final = re.compile(
    rb"(?:api-key|(?:ocp-apim-)?subscription-key|"
    rb"azure_?(?:openai|ai|cognitive|speech|search|translator|vision)[a-z_]{0,32}_?key)"
    + _IS
    + rb"([0-9a-fA-F]{32})",
    re.IGNORECASE,
)
_NAME_LETTER: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")


def find_account_key(text: bytes, at: int) -> Span | None:
    """The value of the ``AccountKey`` at ``at``."""
    return _value(text, _ACCOUNT_KEY.match(text, at), 64)


def find_shared_key(text: bytes, at: int) -> Span | None:
    """The value of the ``SharedAccessKey`` at ``at``."""
    return _value(text, _SHARED_KEY.match(text, at), 64)


def find_signature(text: bytes, at: int) -> Span | None:
    """The value of the ``sig`` at ``at``, beside other parameters of a shared access signature."""
    found = _SIGNATURE.match(text, at)
    if found is None:
        return None
    beside = _PARAMETERS.search(text, max(0, at - _SAS), at) or _PARAMETERS.search(
        text, found.end(), min(len(text), found.end() + _SAS)
    )
    return _value(text, found, 64) if beside else None


def find_client_secret(text: bytes, at: int) -> Span | None:
    """The client secret whose fourth character stands at ``at``."""
    start = at - _CLIENT_BEFORE
    if start < 0 or (start and text[start - 1] in _CLIENT_LETTER and not begins_line(text, start)):
        return None
    found = _CLIENT.match(text, start)
    return _whole(text, found, 0, found[0][6:], 64) if found else None


def find_hex_key(text: bytes, at: int) -> Span | None:
    """The value of 32 hexadecimal digits of the name at ``at``."""
    if at and text[at - 1] in _NAME_LETTER and not begins_line(text, at):
        return None
    return _value(text, _HEX_KEY.match(text, at), 16)


def _value(text: bytes, found: re.Match[bytes] | None, alphabet: int) -> Span | None:
    return _whole(text, found, 1, found[1].rstrip(b"="), alphabet) if found else None


def _whole(text: bytes, found: re.Match[bytes], group: int, body: bytes, alphabet: int) -> Span | None:
    """Where ``group`` stands, if ``body`` is random and does not go on."""
    if not made_at_random(body, alphabet) or not ends(text, found.end(), _FURTHER):
        return None
    return Span(*found.span(group))


AZURE: Final = (
    Detector(
        kind="azure-account-key",
        family="azure",
        version=1,
        about="account keys of Azure Storage, Cosmos DB and Batch, by their names",
        anchors=(b"accountkey", b"account_key", b"storagekey", b"storage_key"),
        find=find_account_key,
        fold=True,
        boundary=False,
        reach=160,
    ),
    Detector(
        kind="azure-shared-access-key",
        family="azure",
        version=1,
        about="shared access keys of Service Bus, Event Hubs, IoT Hub and others, by their names",
        anchors=(b"sharedaccesskey", b"shared_access_key", b"accesskey"),
        find=find_shared_key,
        fold=True,
        reach=96,
    ),
    Detector(
        kind="azure-sas-signature",
        family="azure",
        version=1,
        about="signatures in shared access signatures and the URLs of Logic Apps",
        anchors=(b"sig=",),
        find=find_signature,
        back=_SAS,
        reach=_SAS + 64,
        tail=(rb"[0-9A-Za-z/+_-]", 32),
    ),
    Detector(
        kind="azure-client-secret",
        family="azure",
        version=1,
        about="client secrets of Microsoft Entra applications",
        anchors=(b"8Q~", b"7Q~"),
        find=find_client_secret,
        boundary=False,
        back=4,
        reach=48,
        tail=(rb"[0-9A-Za-z._~-]", 31),
    ),
    Detector(
        kind="azure-ai-key",
        family="azure",
        version=1,
        about="older keys of Azure OpenAI and other AI services, by their names",
        anchors=(
            b"api-key",
            b"subscription-key",
            b"ocp-apim-",
            b"azure_openai",
            b"azureopenai",
            b"azure_ai",
            b"azure_cognitive",
            b"azure_speech",
            b"azure_search",
            b"azure_translator",
            b"azure_vision",
        ),
        find=find_hex_key,
        fold=True,
        back=1,
        reach=128,
    ),
)
