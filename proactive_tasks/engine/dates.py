"""Dates by a Java pattern (`yyyy-MM-dd`), read as leniently as SimpleDateFormat does."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LETTERS = "GyYMLwWDdFEuaHkKhmsSzZX"
_NUMBERS = {"y": "year", "M": "month", "d": "day", "H": "hour", "k": "hour", "h": "hour", "K": "hour", "m": "minute"}
_NUMBERS |= {"s": "second", "S": "millisecond"}
_NAMES = {
    "M": rf"(?:{'|'.join(_MONTHS)})[a-z]*",
    "E": r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*",
    "z": r"[A-Za-z]+",
}
_ZONES = {"Z": r"[+-]\d{4}", "ZXX": r"[+-]\d{4}", "X": r"Z|[+-]\d\d", "XXX": r"Z|[+-]\d\d:\d\d"}
NUMBER = r"-?\d+"
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)


def parse(pattern: str, value: str) -> datetime:
    """Read a date; fields that run over carry on (month 13 is January of the next year), what follows is ignored.

    Raises:
        ValueError: with the scheduler's text; also for a letter of the pattern that is not supported.
    """
    fields: dict[str, int] = {"year": 1970, "month": 1, "day": 1}
    zone: timezone = UTC
    position = 0
    tokens = list(_TOKEN.finditer(pattern))
    for match, following in itertools.zip_longest(tokens, tokens[1:]):
        token = match[0]
        form, name = _form(match)
        if form == NUMBER and following and _form(following)[0] == NUMBER:
            form = _abutting(len(token))
        if match[2]:
            form = rf"[ \t]*(?:{form})"
        found = re.compile(form, re.IGNORECASE).match(value, position)
        if found is None:
            raise ValueError(
                f"Invalid value , Date value expected but received '{value}', Unparseable date: \"{value}\""
            )
        position, text = found.end(), found[0].strip()
        if name == "zone":
            zone = _zone(text)
        elif name == "month" and len(token) > 2:
            fields["month"] = _MONTHS.index(text[:3].lower()) + 1
        elif name:
            fields[name] = int(text) + (2000 if name == "year" and len(token) == 2 and len(text) == 2 else 0)
    return _moment(fields, zone)


def _abutting(width: int) -> str:
    """A number beside another one: its width tells them apart."""
    return rf"(?=.{{{width}}})(?:-\d{{1,{max(1, width - 1)}}}|\d{{1,{width}}})"


def _form(match: re.Match[str]) -> tuple[str, str]:
    """The expression that a token of the pattern reads, and the field that it sets."""
    token, letter = match[0], match[2]
    if match[1] is not None or letter is None:
        return re.escape(match[1].replace("''", "'") if match[1] else token), ""
    if letter not in _LETTERS:
        raise ValueError(f"Illegal pattern character '{letter}'")
    if letter in _NAMES and (letter != "M" or len(token) > 2):
        return _NAMES[letter], "month" if letter == "M" else ""
    if letter in "ZX":
        return _ZONES[letter + "XX" if len(token) > 2 else letter], "zone"
    if letter == "a":
        return r"[AP]M", ""
    return NUMBER, _NUMBERS.get(letter, "")


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
