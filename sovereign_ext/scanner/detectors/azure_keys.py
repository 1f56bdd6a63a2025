"""Azure's keys with a fixed signature: certain anywhere, without a name beside them.

Formats: Microsoft's metadata of identifiable keys (the signature of each service and its place in the key)
and the specification of common annotated security keys (CASK). Azure OpenAI, the other AI services, Azure
DevOps and more give out keys of 84 letters and digits with ``JQQJ99`` after 52 of them; the draft's newer
form has ``QJJQ`` after 44 and is a multiple of four long. Signature, place, length and letters are checked;
the services' checksums (Marvin) are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import begins_line, ends

_BASE64: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_BASE64URL: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_ALPHANUMERIC: Final = _BASE64 & _BASE64URL


@dataclass(frozen=True, slots=True)
class _Form:
    """How a key goes on around its signature."""

    before: int
    """Letters before the signature."""
    after: re.Pattern[bytes]
    """The signature and all that follows."""
    letters: frozenset[int]
    """What the key is written with."""


def _form(before: int, after: bytes, letters: frozenset[int] = _BASE64) -> _Form:
    return _Form(before, re.compile(after + rb"(?!=)"), letters)


_LONG: Final = rb"[A-Za-z0-9+/]{5}[AQgw]=="
_FORMS: Final[dict[bytes, tuple[_Form, ...]]] = {
    b"JQQJ99": (_form(52, rb"JQQJ99[A-Za-z0-9][A-L][A-Za-z0-9]{24}", _ALPHANUMERIC),),
    b"QJJQA": tuple(
        _form(
            before,
            rb"QJJQA[BC][A-K][A-Za-z0-9_-]{5}(?:[A-Za-z0-9_-]{4}){0,10}?AA[A-Za-z0-9_-]{6}",
            _BASE64URL,
        )
        for before in (44, 88)
    ),
    b"+ASt": (_form(76, rb"\+ASt" + _LONG),),
    b"+ABa": (_form(76, rb"\+ABa" + _LONG),),
    b"+AMC": (_form(76, rb"\+AMC" + _LONG),),
    b"ACDb": (_form(76, rb"ACDb" + _LONG),),
    b"APIM": (_form(76, rb"APIM" + _LONG),),
    b"AzFu": (_form(44, rb"AzFu" + _LONG), _form(44, rb"AzFu" + _LONG.replace(b"+/", b"_-"), _BASE64URL)),
    b"+ASb": (_form(33, rb"\+ASb[A-P][A-Za-z0-9+/]{5}="),),
    b"+AEh": (_form(33, rb"\+AEh[A-P][A-Za-z0-9+/]{5}="),),
    b"+ARm": (_form(33, rb"\+ARm[A-P][A-Za-z0-9+/]{5}="),),
    b"AIoT": (_form(33, rb"AIoT[A-P][A-Za-z0-9+/]{5}="),),
    b"AzCa": (_form(33, rb"AzCa[A-P][A-Za-z0-9+/]{5}="),),
    b"+ACR": (_form(42, rb"\+ACR[A-D][A-Za-z0-9+/]{5}"),),
    b"AzSe": (_form(42, rb"AzSe[A-D][A-Za-z0-9]{5}", _ALPHANUMERIC),),
}
_BACK: Final = 89
_FURTHER: Final = re.compile(rb"[A-Za-z0-9+/]")
_SIGNED: Final = re.compile(b"|".join(re.escape(signature) for signature in _FORMS))


def find(text: bytes, at: int) -> Span | None:
    """The key whose signature stands at ``at``."""
    signature = _SIGNED.match(text, at)
    if signature is None:
        return None
    for form in _FORMS[signature[0]]:
        start = at - form.before
        if start < 0 or (start and text[start - 1] in form.letters and not begins_line(text, start)):
            continue
        before = text[start:at]
        after = form.after.match(text, at)
        if after is None or not ends(text, after.end(), _FURTHER):
            continue
        if form.letters.issuperset(before) and made_at_random(before, 64):
            return Span(start, after.end())
    return None


AZURE_KEYS: Final = (
    Detector(
        kind="azure-key",
        family="azure",
        version=1,
        about="keys of Azure services with a fixed signature (Azure OpenAI, DevOps, Storage and others)",
        anchors=tuple(_FORMS),
        find=find,
        boundary=False,
        back=_BACK,
        reach=96,
    ),
)
