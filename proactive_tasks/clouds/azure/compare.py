"""Bodies of resources as ARM takes and gives them: what differs between wanted and found, and both together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def differences(wanted: Any, found: Any, key: str = "") -> Iterator[str]:
    """What of that which is wanted is otherwise, in words; what else is found does not count."""
    if isinstance(wanted, dict):
        for inner, value in wanted.items():
            yield from differences(value, found.get(inner) if isinstance(found, dict) else None, _key(key, inner))
    elif _named(wanted):
        there = _by_name(found or [])
        for item in wanted:
            yield from differences(item, there.get(item["name"].lower()), key)
    elif not _same(wanted, found):
        yield f"{key} is {_word(found)}, not {_word(wanted)}"


def merged(found: Any, wanted: Any) -> Any:
    """What is found, with what is wanted in it: what others have set stays."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {**found, **{key: merged(found.get(key), value) for key, value in wanted.items()}}
    if _named(wanted) and found:
        there = _by_name(found)
        return [
            *(item for name, item in there.items() if name not in _by_name(wanted)),
            *(merged(there.get(item["name"].lower()), item) for item in wanted),
        ]
    return wanted


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {str(item.get("name", "")).lower(): item for item in items}


def _same(wanted: Any, found: Any) -> bool:
    """ARM keeps neither the case of ids nor that of enumerations."""
    if isinstance(wanted, str) and isinstance(found, str):
        return wanted.lower() == found.lower()
    return bool(wanted == found)


def _key(outer: str, inner: str) -> str:
    """The nearest name that says something: routeTable, not properties.routeTable.id."""
    return outer if outer and inner in {"id", "properties", "name"} else inner


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else str(value)
