"""Hours, days and months of the calendar in UTC, as hours since 1970. Values only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sovereign_ext.errors import CallerError

HOUR_MS: Final = 3_600_000
DAY_HOURS: Final = 24
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def start_hour(self) -> int:
        """Its first hour."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()) // 3_600

    @property
    def next(self) -> Month:
        """The one after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def end_hour(self) -> int:
        """The hour after its last."""
        return self.next.start_hour


def month_of(hour: int) -> Month:
    """The month that an hour belongs to."""
    time = datetime.fromtimestamp(hour * 3_600, UTC)
    return Month(time.year, time.month)


def parse_month(text: str) -> Month:
    """A month like ``2026-11``. Raises ``CallerError`` 400 ``invalid_name``."""
    match = _MONTH.fullmatch(text)
    if match is None or not _FIRST_YEAR <= int(match[1]) <= _LAST_YEAR or not 1 <= int(match[2]) <= 12:
        raise CallerError(400, "expected a month like 2026-11", code="invalid_name")
    return Month(int(match[1]), int(match[2]))


def months(since_hour: int, until_hour: int) -> tuple[int, ...]:
    """The first hours of all months that have hours in ``[since_hour, until_hour)``."""
    month = month_of(since_hour)
    found = [month.start_hour]
    while (month := month.next).start_hour < until_hour:
        found.append(month.start_hour)
    return tuple(found)
