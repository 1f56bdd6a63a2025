"""What limits ask before a call is sent, and what they are told when it is over: values, and who keeps them.

A ledger is asked once per call, with everything that the call will draw on (``Demand``), and answers all or nothing:
either all of it is taken (``Admitted``) or none of it and the answer says what stood against it (``Refused``). When
the call is over, ``settle`` replaces the estimates by what was used and gives back the rest.

* A **bucket** (requests, tokens in, tokens out) holds ``capacity`` units and fills up evenly in ``window_s`` seconds
  (``buckets``). In any t seconds at most ``capacity × (1 + t / window_s)`` units are taken. Correcting an estimate may
  overdraw it: then it takes that much longer to fill. Its identity is scope, measure and window: a capacity that was
  changed keeps what is used.
* A **slot** (concurrent calls) is held from ``admit`` to ``settle``. Its identity is the scope.
* A **cap** (spend) bounds what was billed in a calendar window together with what is reserved there. A call is refused
  if its estimate does not fit, so the cap is exceeded by no more than one call's estimate was too low. Its identity is
  scope, window and the window's start. A call belongs to the window in which it began.

Draws on one bucket, and slots and reserves of one identity, come once in a demand.

Two ledgers exist: in the memory of one process, and in Valkey for several. Both are held to the same tests.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class Measure(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS_IN = "tokens_in"
    TOKENS_OUT = "tokens_out"
    CONCURRENT = "concurrent"
    SPEND = "spend"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose limit it is: a tenant's, or that of one of its keys (``key``), for one ``model`` or for all (empty)."""

    tenant: str
    key: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Draw:
    """Units taken from a token bucket. ``amount`` is exact for requests and an estimate for tokens."""

    scope: Scope
    measure: Measure
    capacity: int
    window_s: int
    amount: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One of ``capacity`` calls that may be in flight at once."""

    scope: Scope
    capacity: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """The estimate held against a spend cap, in billed billionths of a dollar.

    ``window`` is the calendar window's name, ``start_ms`` and ``end_ms`` bound it in Unix milliseconds (0 and 0 for
    ``total``).
    """

    scope: Scope
    window: str
    start_ms: int
    end_ms: int
    cap_nano: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Demand:
    """All that a call draws on. ``call`` is its decision id.

    ``expires_ms`` is when the call is over at the latest, Unix milliseconds: what is then not settled is swept.
    ``strict`` says that its policy has strict audit: it is refused where counts cannot be reached. ``lost`` is what the
    entry of the call needs should it never be settled (``exchange.lost``); a ledger keeps it with the reserves, and
    only with them.
    """

    call: str
    tenant: str
    key: str
    expires_ms: int
    draws: tuple[Draw, ...] = ()
    slots: tuple[Slot, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    strict: bool = False
    lost: bytes = b""


@dataclass(frozen=True, slots=True)
class Remaining:
    """How a bucket stands: ``remaining`` units, full again in ``reset_s`` seconds. For ``x-ratelimit-*`` headers."""

    draw: Draw
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """Everything was taken. ``buckets`` are how they stand after it, in the order of the draws."""

    buckets: tuple[Remaining, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was taken. ``by`` is what stood against it, the one that will do so longest; of equals the first, draws
    before slots before reserves. ``buckets`` are as they stand, in the order of the draws.

    ``retry_after_s`` is when the same call could be admitted (``SLOT_RETRY_S`` for a slot), ``None`` where waiting
    cannot help: it asks for more than the limit ever holds, or the cap's window does not end.
    """

    by: Draw | Slot | Reserve
    retry_after_s: float | None
    buckets: tuple[Remaining, ...] = ()


SLOT_RETRY_S: Final = 1.0
"""When to come back for a slot. Nobody knows how long calls take."""

Verdict = Admitted | Refused


@dataclass(frozen=True, slots=True)
class Used:
    """What a call used in fact. Where a count is not known (``None``), the estimate stands."""

    tokens_in: int | None
    tokens_out: int | None
    billed_nano: int | None


NOTHING_USED: Final = Used(0, 0, 0)
"""Of a call that nobody answered."""


class SpendSource(Protocol):
    """The truth about spend; ``storage.usage.UsageStore`` is one. Reads a database, so it is called on a thread."""

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        """Billed billionths of a dollar for the calls that began in ``[since_ms, until_ms)``, by the tenant or by one
        of its keys. Raises as databases do."""
        ...


SPEND_KEPT_MS: Final = 60_000
"""How long a count of what was spent is believed that no call draws on. After that it is read again from its source,
as calls are not counted while they are under no cap: a cap that was lifted, and is back, has to know of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """How a spend cap's window stands, in billed billionths of a dollar: of calls that are over, and of those that are
    not."""

    spent_nano: int
    reserved_nano: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything in a demand stands, in its order: buckets, calls that hold each slot, spend windows."""

    buckets: tuple[Remaining, ...]
    slots: tuple[int, ...]
    windows: tuple[Held, ...]


class Standings(Protocol):
    """Shows the counts. Every ledger does."""

    def standing(self, demand: Demand, now_ms: int) -> Standing | Awaitable[Standing]:
        """How everything in ``demand`` stands; its amounts do not matter, and nothing is taken.

        Raises ``ServiceError`` 503 ``limits_unavailable`` when the counts cannot be reached.
        """
        ...


class Ledger(Standings, Protocol):
    """Keeps the counts. ``now_ms`` is Unix milliseconds."""

    def admit(self, demand: Demand, now_ms: int) -> Verdict | Awaitable[Verdict]:
        """Take all of ``demand`` or nothing. An embedded ledger answers at once if it has the counts in memory, a
        shared one is awaited.

        For a call that was admitted before it answers ``Admitted`` and takes nothing. Raises ``ServiceError`` 503
        ``limits_unavailable`` when the counts cannot be reached and the call must not go on without them; the awaitable
        does so, too.
        """
        ...

    def settle(self, call: str, used: Used, now_ms: int) -> None:
        """The call is over, and its entry durable. Never waits and never raises; for a call that is not known it does
        nothing. Called for refused calls, too, and after an ``admit`` that was not awaited to its end."""
        ...
