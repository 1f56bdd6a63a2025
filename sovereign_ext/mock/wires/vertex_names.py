"""Field names as protobuf's JSON mapping takes them: lowerCamelCase or the original snake_case.

Google's own SDK sends both in one request. Free-form values (schemas, arguments, labels) are left alone.
"""

from __future__ import annotations

import re
from typing import Any

_FREE = frozenset(
    {"parameters", "parametersJsonSchema", "responseJsonSchema", "responseSchema", "args", "response"}
)
_UNDERSCORE = re.compile(r"_([a-z])")


def camel_case(value: Any) -> Any:
    """The same message with every field name in lowerCamelCase."""
    if isinstance(value, list):
        return [camel_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {_UNDERSCORE.sub(lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in _FREE else camel_case(inner) for name, inner in named.items()}
