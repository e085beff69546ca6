"""`$NAME` and `${NAME}` in texts of a job descriptor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"\$(?:\{([A-Za-z0-9._]+)\}|([A-Za-z0-9._]+))")


def references(pattern: str) -> Iterator[str]:
    """The names that a text refers to."""
    for match in _REFERENCE.finditer(pattern):
        yield match[1] or match[2]


def substitute(pattern: str, values: Mapping[str, str], depth: int = 5) -> str:
    """Replace `$NAME` and `${NAME}`, also in what they stand for; an unknown name stays as it is written."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1] or match[2])
        return match[0] if found is None else found

    for _ in range(depth):
        replaced = _REFERENCE.sub(value, pattern)
        if replaced == pattern:
            break
        pattern = replaced
    return pattern
