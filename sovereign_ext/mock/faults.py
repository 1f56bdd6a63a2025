"""What can be made to go wrong, as one value that combines freely, and the table that says when.

Every field of ``Fault`` defaults to "does not go wrong". JSON uses the same names; unknown names are refused,
so a misspelt fault never passes as a test of nothing. Which bytes result is ``transmit``'s and ``framing``'s
job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from sovereign_ext.errors import CallerError

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base: frozen, strict about names, prints only what differs from the default."""


class Shape(_Value, frozen=True, kw_only=True):
    """What the answer holds; wires read this part. Nothing here breaks the protocol."""

    tokens: Count | None = None  # exactly so many text chunks
    chunk_text: Positive | None = None  # exactly so many characters in each text chunk
    finish_reason: str | None = None  # in the provider's own words, sent as it is
    finish_with_text: bool = False  # the last text rides in the event that carries the finish reason
    usage: dict[str, Any] | None = None  # merged into the native usage object
    omit_usage: bool = False  # no usage at all


class Stall(_Value, frozen=True, kw_only=True):
    """Say nothing for a while. ``at``: before the headers, after them, or after so many content events."""

    at: Literal["headers", "first_event"] | Count = "headers"
    seconds: Amount | None = None  # None: until the client gives up


class Cut(_Value, frozen=True, kw_only=True):
    """End the connection mid-body. ``how``: RST (SO_LINGER 0) or FIN. Give one of the two places."""

    after_events: Count | None = None  # whole content events sent before the cut
    after_bytes: Count | None = None  # body bytes sent before the cut, counted before transfer coding
    how: Literal["rst", "fin"] = "rst"

    def __post_init__(self) -> None:
        if (self.after_events is None) == (self.after_bytes is None):
            raise ValueError("cut takes exactly one of after_events, after_bytes")


class ErrorEvent(_Value, frozen=True, kw_only=True):
    """A native error inside a 200 stream, after which the stream ends cleanly. 200 with an error body for
    JSON.

    ``after``: ``start`` makes it the very first event; 0 puts it after the opening events and before any
    content.
    """

    after: Literal["start"] | Count = "start"
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503  # chooses the native type and code
    message: str = ""
    type: str = ""
    code: str = ""
    as_data: bool = False  # Gemini: as a data: event, not as bare pretty-printed lines


class Sse(_Value, frozen=True, kw_only=True):
    """Ways to write server-sent events that the specification allows and parsers get wrong."""

    line_end: Literal["lf", "crlf", "cr"] = "lf"
    space: bool = True  # the blank after "data:"
    comments: bool = False  # a comment line before every event
    multiline: bool = False  # the JSON over several data: lines
    event_after_data: bool = False  # field order reversed
    id_retry: bool = False  # id: and retry: fields on every event
    bom: bool = False  # U+FEFF at the very start


class Frame(_Value, frozen=True, kw_only=True):
    """Damage one frame of an AWS event stream: the content event with this number, from 0."""

    event: Count = 0
    damage: Literal["prelude_crc", "message_crc", "length"] = "message_crc"


class Fault(Shape, frozen=True, kw_only=True):
    """Everything that can be told to go wrong with one answer. See docs/reference/mock.md for each field."""

    # instead of the normal answer
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    error_type: str = ""
    error_code: str = ""
    error_message: str = ""
    html: bool = False
    body: str | None = None
    empty: bool = False
    invalid_json: bool = False
    endless_line_mib: Positive | None = None
    # head
    retry_after: str | int | None = None
    headers: dict[str, str] = {}
    content_type: str | None = None
    huge_headers_bytes: Positive | None = None
    slow_headers_ms: Amount | None = None
    # timing
    delay_ms: Amount = 0
    pace_ms: Amount = 0
    stall: Stall | None = None
    # stream contents
    error_event: ErrorEvent | None = None
    end: Literal["before_finish", "before_usage", "before_done"] | None = None
    sse: Sse = Sse()
    frame: Frame | None = None
    # body on the wire
    gzip: bool = False
    framing: Literal["chunked", "length", "close"] | None = None
    content_length_delta: int | None = None
    write_size: Positive | None = None
    write_seed: int | None = None
    events_per_write: Positive | None = None
    cut: Cut | None = None
    # connection
    accept: Literal["close", "reset"] | None = None


NORMAL = Fault()
"""Nothing goes wrong."""


class Scope(_Value, frozen=True, kw_only=True):
    """Which requests a fault meets. Both given: both must match. ``path`` is a prefix of the raw path."""

    model: str | None = None
    path: str | None = None

    def matches(self, model: str | None, path: str) -> bool:
        """Whether a request falls into this scope; ``model`` is ``None`` for what is not a model call."""
        if self.path is not None and not path.startswith(self.path):
            return False
        if self.model is not None:
            return self.model == model
        return self.path is not None or model is not None


class Rule(_Value, frozen=True, kw_only=True):
    """A fault with its scope and how often it strikes: the body of ``POST /_mock/fault``."""

    fault: Fault
    scope: Literal["all"] | Scope = "all"
    times: Positive | None = None  # None: until cleared


@dataclass(slots=True)
class _Armed:
    rule: Rule
    scope: Scope
    left: int | None


class FaultTable:
    """The rules in force. The newest rule with a model or path wins, then the newest of scope ``all``."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self._armed: list[_Armed] = []
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """Put a rule in force."""
        scope = Scope() if isinstance(rule.scope, str) else rule.scope
        self._armed.append(_Armed(rule, scope, rule.times))

    def clear(self) -> None:
        """Lift every rule."""
        self._armed.clear()

    def rules(self) -> list[Rule]:
        """The rules in force, oldest first, ``times`` counting what is left."""
        return [msgspec.structs.replace(armed.rule, times=armed.left) for armed in self._armed]

    def strike(self, model: str | None, path: str) -> Fault:
        """The fault for a request, counted against its rule; ``NORMAL`` when none applies."""
        if not self._armed:
            return NORMAL
        found = [
            armed
            for armed in self._armed
            if armed.rule.fault.accept is None and armed.scope.matches(model, path)
        ]
        if not found:
            return NORMAL
        narrow = [armed for armed in found if armed.scope != Scope()]
        return self._use((narrow or found)[-1])

    def strike_accept(self) -> Literal["close", "reset"] | None:
        """What to do with a connection that was just accepted."""
        found = [armed for armed in self._armed if armed.rule.fault.accept is not None]
        return self._use(found[-1]).accept if found else None

    def _use(self, armed: _Armed) -> Fault:
        if armed.left is not None:
            armed.left -= 1
            if armed.left == 0:
                self._armed.remove(armed)
        return armed.rule.fault


def rule_from_json(raw: bytes) -> Rule:
    """Read a rule; raises ``CallerError`` (400) that names the field."""
    try:
        return msgspec.json.decode(raw, type=Rule)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CallerError(400, f"not a fault rule: {error}") from error


def rule_from_text(text: str) -> Rule:
    """Read a rule from a command line: JSON (a rule or a bare fault), or ``key=value,…`` with dotted keys.

    In the short form ``model``, ``path`` and ``times`` belong to the rule and everything else to the fault.
    Values are JSON where they parse as JSON and text otherwise. Raises ``CallerError``.
    """
    if text.lstrip().startswith("{"):
        raw = text.encode()
        try:
            return msgspec.json.decode(raw, type=Rule)
        except msgspec.MsgspecError:
            return Rule(fault=fault_from_json(raw))
    tree: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key:
            raise CallerError(400, f"expected key=value, got {part!r}")
        _plant(tree, key.split("."), _literal(value))
    scope = {name: str(tree.pop(name)) for name in ("model", "path") if name in tree}
    rule = {"scope": scope or "all", "times": tree.pop("times", None), "fault": tree}
    return rule_from_json(msgspec.json.encode(rule))


def fault_from_json(raw: bytes) -> Fault:
    """Read a bare fault; raises ``CallerError`` (400) that names the field."""
    try:
        return msgspec.json.decode(raw, type=Fault)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CallerError(400, f"not a fault: {error}") from error


def _plant(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            raise CallerError(400, f"{key} is both a value and a group")
        tree = inner
    tree[keys[-1]] = value


def _literal(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.MsgspecError:
        return text
