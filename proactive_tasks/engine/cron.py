"""Cron expressions of the scheduler: five fields, and alternatives after `|`."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minutes", 0, 59, {}),
    ("hours", 0, 23, {}),
    ("days of month", 1, 31, {"l": 32}),
    ("months", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("days of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
LAST_DAY = 32
HORIZON = timedelta(days=366 * 5)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    alternatives: tuple[tuple[frozenset[int], ...], ...]

    def after(self, moment: datetime) -> datetime | None:
        """The next minute that matches, strictly later; None if there is none in five years."""
        limit = moment + HORIZON
        candidate = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        while candidate < limit:
            if not any(_day_matches(fields, candidate) for fields in self.alternatives):
                candidate = candidate.replace(hour=0, minute=0) + timedelta(days=1)
            elif any(_matches(fields, candidate) for fields in self.alternatives):
                return candidate
            else:
                candidate += timedelta(minutes=1)
        return None


def parse(expression: str) -> Cron:
    """Read an expression.

    Raises:
        ValueError: with the scheduler's text.
    """
    alternatives = []
    for pattern in expression.rstrip("|").split("|"):
        words = pattern.split()
        if len(words) != len(_FIELDS):
            raise ValueError(f'invalid pattern: "{expression}"')
        fields = []
        for word, (name, low, high, names) in zip(words, _FIELDS, strict=True):
            try:
                parts = [part for part in word.split(",") if part]  # empty parts do not count
                fields.append(frozenset(value for part in parts for value in _values(part, low, high, names)))
            except ValueError as error:
                text = f'invalid pattern "{expression}". Error parsing {name} field: invalid field "{word}", {error}.'
                raise ValueError(text) from error
        alternatives.append(tuple(fields))
    return Cron(tuple(alternatives))


def _values(part: str, low: int, high: int, names: dict[str, int]) -> Sequence[int]:
    span, _, step = part.partition("/")
    if step and not (step.isdecimal() and int(step) > 0):
        raise ValueError(f'invalid element "{part}", invalid divisor "{step}"')
    if span == "*":
        return range(low, high + 1, int(step or 1))
    bounds = [text for text in span.split("-") if text]
    if len(bounds) not in (1, 2):
        raise ValueError(f'invalid element "{part}", invalid range, invalid value "{span}"')
    begin, end = (_value(part, text, low, high, names) for text in (bounds[0], bounds[-1]))
    values = range(begin, end + 1) if begin <= end else (*range(begin, high + 1), *range(low, end + 1))
    return values[:: int(step or 1)]


def _value(part: str, text: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(text.lower())
    if number is None and not text.isdecimal():
        raise ValueError(f'invalid element "{part}", invalid range, invalid value "{text}"')
    value = int(text) if number is None else number
    if number is None and not low <= value <= high:
        raise ValueError(f'invalid element "{part}", invalid range, invalid value "{text}", value out of range')
    return value


def _day_matches(fields: tuple[frozenset[int], ...], moment: datetime) -> bool:
    _, _, days, months, weekdays = fields
    last = calendar.monthrange(moment.year, moment.month)[1]
    on_day = moment.day in days or (LAST_DAY in days and moment.day == last)
    weekday = moment.isoweekday() % 7
    return on_day and moment.month in months and (weekday in weekdays or (weekday == 0 and 7 in weekdays))


def _matches(fields: tuple[frozenset[int], ...], moment: datetime) -> bool:
    return moment.minute in fields[0] and moment.hour in fields[1] and _day_matches(fields, moment)
