"""Resource names as AIP-122 has them (``receipts/42``) and opaque page tokens as AIP-158 has them.

Values only. Whether the named thing exists is the services' question.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from sovereign_ext.errors import CallerError

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

_RECEIPT = re.compile(r"receipts/(0|[1-9][0-9]{0,18})")
_AUDIT_ROW = re.compile(r"auditRows/(0|[1-9][0-9]{0,17})")
_POLICY = re.compile(r"policies/([^/:]+)")
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_PLACE = re.compile(r"(0|[1-9][0-9]{0,17})-([1-9][0-9]{0,8})")
_MAX_INDEX: Final = (1 << 63) - 1  # sizes are int64 on the wire


def receipt_index(name: str) -> int:
    """The log index in ``receipts/{index}``. Raises 400 ``invalid_name``."""
    match = _RECEIPT.fullmatch(name)
    if match is None or int(match[1]) > _MAX_INDEX:
        text = "expected receipts/{index}, the index a decimal number without leading zeros"
        raise CallerError(400, text, code="invalid_name")
    return int(match[1])


def audit_index(name: str) -> int:
    """The log index in ``auditRows/{index}``. Raises 400 ``invalid_name``."""
    match = _AUDIT_ROW.fullmatch(name)
    if match is None or int(match[1]) > _MAX_INDEX:
        text = "expected auditRows/{index}, the index a decimal number without leading zeros"
        raise CallerError(400, text, code="invalid_name")
    return int(match[1])


def finding_place(name: str) -> tuple[int, int]:
    """The log index and the place in ``findings/{index}-{place}``. Raises 400 ``invalid_name``."""
    match = _PLACE.fullmatch(name.removeprefix("findings/"))
    if match is None or not name.startswith("findings/"):
        text = "expected findings/{index}-{place}, both decimal numbers without leading zeros"
        raise CallerError(400, text, code="invalid_name")
    return int(match[1]), int(match[2])


def policy_id(name: str) -> str:
    """The policy's id in ``policies/{policy}``. Raises 400 ``invalid_name``."""
    match = _POLICY.fullmatch(name)
    if match is None:
        raise CallerError(400, "expected policies/{policy}", code="invalid_name")
    return match[1]


def page_size(asked: int) -> int:
    """How many items a page gets: the default for 0, never more than the maximum. Raises 400 for a negative
    one."""
    if asked < 0:
        raise CallerError(400, f"page_size must not be negative, is {asked}", code="invalid_page_size")
    return min(asked, MAX_PAGE) or DEFAULT_PAGE


def page_token(last: str) -> str:
    """The token for what comes after the item with the id ``last``.

    It names a place in the order, not a count, so that pages neither repeat nor skip when items come and go.
    """
    return base64.urlsafe_b64encode(b"after:" + last.encode()).decode().rstrip("=")


def after(token: str) -> str:
    """The id behind which the page starts; empty for the first page. Raises 400 ``invalid_page_token``."""
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith("after:") or page_token(text.removeprefix("after:")) != token:
        raise bad_token()
    return text.removeprefix("after:")


def index_in(last: str) -> int:
    """The log index that a list ordered by it went on behind. Raises 400 ``invalid_page_token``."""
    if _INDEX.fullmatch(last) is None:
        raise bad_token()
    return int(last)


def place_in(last: str) -> tuple[int, int]:
    """The log index and the place that a list of findings went on behind. Raises 400 ``invalid_page_token``."""
    match = _PLACE.fullmatch(last)
    if match is None:
        raise bad_token()
    return int(match[1]), int(match[2])


def newest_first(order_by: str, *, default: bool) -> bool:
    """Which way a list by log index goes: ``index`` or ``index desc``. Raises 400 ``invalid_order_by``."""
    words = order_by.split()
    if words not in ([], ["index"], ["index", "desc"], ["index", "asc"]):
        raise CallerError(400, "expected index or index desc", code="invalid_order_by", param="order_by")
    return words[1:] == ["desc"] if words else default


def bad_token() -> CallerError:
    """The answer to a token that was made up, or is of another list."""
    return CallerError(400, "page_token is not one that this API gave out", code="invalid_page_token")
