"""Dates by a Java pattern (`yyyy-MM-dd`), read as leniently as SimpleDateFormat does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EARLIEST = datetime.min.replace(tzinfo=UTC)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LETTERS = "GyYMLwWDdFEuaHkKhmsSzZX"
_NUMBERS = {"y": "year", "M": "month", "d": "day", "H": "hour", "k": "hour", "h": "hour", "K": "hour", "m": "minute"}
_NUMBERS |= {"s": "second", "S": "millisecond"}
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)


def parse(pattern: str, value: str) -> datetime:
    """Read a date; fields that run over carry on (month 13 is January of the next year), what follows is ignored.

    Raises:
        ValueError: with the scheduler's text; also for a letter of the pattern that is not supported.
    """
    fields: dict[str, int] = {"year": 1970, "month": 1, "day": 1}
    zone: timezone = UTC
    position = 0
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        form, name = _form(match)
        found = re.compile(form, re.IGNORECASE).match(value, position)
        if found is None:
            raise ValueError(
                f"Invalid value , Date value expected but received '{value}', Unparseable date: \"{value}\""
            )
        position = found.end()
        if name == "zone":
            zone = _zone(found[0])
        elif name == "month" and len(token) > 2:
            fields["month"] = _MONTHS.index(found[0][:3].lower()) + 1
        elif name:
            fields[name] = int(found[0]) + (2000 if name == "year" and len(token) == 2 and len(found[0]) == 2 else 0)
    return _moment(fields, zone)


def _form(match: re.Match[str]) -> tuple[str, str]:
    """The expression that a token of the pattern reads, and the field that it sets."""
    token, letter = match[0], match[2]
    if match[1] is not None or letter is None:
        return re.escape(match[1].replace("''", "'") if match[1] else token), ""
    if letter not in _LETTERS:
        raise ValueError(f"Illegal pattern character '{letter}'")
    if letter in "MEz" and (letter != "M" or len(token) > 2):
        return r"[A-Za-z]+", "month" if letter == "M" else ""
    if letter in "ZX":
        return r"Z|[+-]\d\d:?\d\d|[+-]\d\d", "zone"
    if letter == "a":
        return r"[AP]M", ""
    return r"-?\d+", _NUMBERS.get(letter, "")


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _moment(fields: dict[str, int], zone: timezone) -> datetime:
    years, month = divmod(fields["month"] - 1, 12)
    start = datetime(fields["year"] + years, month + 1, 1, tzinfo=zone)
    return start + timedelta(
        days=fields["day"] - 1,
        hours=fields.get("hour", 0),
        minutes=fields.get("minute", 0),
        seconds=fields.get("second", 0),
        milliseconds=fields.get("millisecond", 0),
    )


def show(moment: datetime) -> str:
    """A date as Java prints it."""
    return moment.astimezone(UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
