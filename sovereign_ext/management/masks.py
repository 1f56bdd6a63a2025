"""Update masks (AIP-134, AIP-161): which fields of a resource an update replaces.

Without a mask those that are given, with ``*`` all of them. Fields that are not the caller's to set may be named and
are passed over. Values only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf.message import Message

from sovereign_ext.errors import CallerError


def merged(current: Message, wanted: Message, paths: Collection[str], settable: frozenset[str]) -> Message:
    """``current`` with the fields that ``paths`` name as ``wanted`` has them. Raises 400 ``invalid_update_mask``."""
    if "*" in paths:
        if len(paths) > 1:
            raise _invalid("'*' stands alone")
        chosen = sorted(settable)
    elif paths:
        chosen = [
            path for path in paths if _known(wanted.DESCRIPTOR, path) and path.split(".")[0] in settable
        ]
    else:
        chosen = [field.name for field, _ in wanted.ListFields() if field.name in settable]
    result = type(current)()
    result.CopyFrom(current)
    for path in chosen:
        _replace(wanted, result, path)
    return result


def _known(descriptor: Any, path: str) -> bool:
    """Raises 400 unless ``path`` names a field; elements of lists have no path."""
    here = descriptor
    repeated = False
    for part in path.split("."):
        field = None if here is None or repeated else here.fields_by_name.get(part)
        if field is None:
            raise _invalid(f"there is no field {path[:200]!r}")
        here, repeated = field.message_type, field.is_repeated
    return True


def _replace(source: Message, target: Message, path: str) -> None:
    head, _, rest = path.partition(".")
    if rest:
        if source.HasField(head) or target.HasField(head):
            _replace(getattr(source, head), getattr(target, head), rest)
        return
    target.ClearField(head)
    alone = type(source)()
    alone.CopyFrom(source)
    for field in source.DESCRIPTOR.fields:
        if field.name != head:
            alone.ClearField(field.name)
    target.MergeFrom(alone)


def _invalid(text: str) -> CallerError:
    return CallerError(400, f"update_mask: {text}", code="invalid_update_mask")
