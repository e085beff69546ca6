"""Values as a cpython task of the scheduler sees them: py4j's views of Java collections.

A task gets lists and dicts of other tasks as `JavaList` and `JavaMap`, which are not `list` and `dict`, iterate in
Java's order, never use the default of `get`, and change in place. `encode` and `decode` carry them between processes as
JSON; `text` is Java's `toString`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence, MutableSet, Sequence
from decimal import Decimal
from typing import Any

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


class Py4JError(Exception):
    """An error on the Java side of the scheduler."""


def to_java(value: Any) -> Any:
    """The value as it comes back from Java.

    Raises:
        Py4JError: an integer of more than 64 bits.
        AttributeError: an object that has no Java counterpart, as py4j says it.
    """
    if value is None or isinstance(value, (bool, Decimal, JavaMap, JavaSet, JavaList, JavaArray)):
        return value
    if isinstance(value, int):
        if not LONG_MIN <= value <= LONG_MAX:
            raise Py4JError(f'java.lang.NumberFormatException: For input string: "{int(value)}"')
        return int(value)
    for kind in (float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, (set, frozenset, MutableSet)):
        return JavaSet(value)
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return JavaMap({key: value[key] for key in value.keys()})  # noqa: SIM118 - whatever has keys() is a map to py4j
    if hasattr(value, "__iter__"):
        return JavaList(value)
    raise AttributeError(f"{type(value).__name__!r} object has no attribute '_get_object_id'")


def _int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def java_hash(value: Any) -> int:
    """`hashCode()` of a key; 0 where Java's depends on the object's address."""
    if isinstance(value, bool):
        return 1231 if value else 1237
    if isinstance(value, int):
        return _int32(value) if -(2**31) <= value < 2**31 else _int32(value ^ (value >> 32))
    if isinstance(value, float):
        bits = struct.unpack(">q", struct.pack(">d", value))[0]
        return _int32(bits ^ (bits >> 32))
    if not isinstance(value, str):
        return 0
    result = 0
    units = value.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        result = (31 * result + (high << 8 | low)) & 0xFFFFFFFF
    return _int32(result)


def _table_size(wanted: int) -> int:
    size = 1
    while size < wanted:
        size *= 2
    return size


class _Hashed:
    """The order in which java.util.HashMap walks its table: by bucket, then by age."""

    def __init__(self) -> None:
        self._capacity = 16

    def _grow(self, size: int) -> None:
        while size > self._capacity * 0.75:
            self._capacity *= 2

    def reread(self, size: int) -> None:
        """The table that Java makes when it reads a map of this size from another process."""
        self._capacity = max(16, _table_size(int(size / 0.75 + 1.0)))

    def _ordered(self, keys: Iterable[Any]) -> list[Any]:
        def bucket(key: Any) -> int:
            value = java_hash(key) & 0xFFFFFFFF
            return (value ^ (value >> 16)) & (self._capacity - 1)

        return sorted(keys, key=bucket)


class JavaMap(_Hashed, MutableMapping[Any, Any]):
    """A java.util.Map: `get` and `[]` of a missing key are None, whatever the default."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__()
        self._items: dict[Any, Any] = {}
        self.putAll(dict(items))

    def __getitem__(self, key: Any) -> Any:
        return self._items.get(to_java(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items[to_java(key)] = to_java(value)
        self._grow(len(self._items))

    def __delitem__(self, key: Any) -> None:
        self._items.pop(key, None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ordered(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JavaMap) and self._items == other._items

    __hash__ = None  # type: ignore[assignment]  # mutable, like the mapping it stands for

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {value!r}" for key, value in self.items()) + "}"

    def put(self, key: Any, value: Any) -> Any:
        """Set a value; answers the one before."""
        before = self[key]
        self[key] = value
        return before

    def remove(self, key: Any) -> Any:
        """Take a key out; answers its value."""
        return self._items.pop(key, None)

    def clear(self) -> None:
        """Take all keys out."""
        self._items.clear()

    def putAll(self, other: Any) -> None:  # noqa: N802 - Java's name
        """Set all values of another map."""
        for key in other:
            self[key] = other[key]

    def putIfAbsent(self, key: Any, value: Any) -> Any:  # noqa: N802 - Java's name
        """Set a value unless there is one."""
        before = self[key]
        if before is None:
            self[key] = value
        return before

    def getOrDefault(self, key: Any, default: Any) -> Any:  # noqa: N802 - Java's name
        """The value, or the default: the one getter that uses it."""
        return self._items.get(key, default)

    def containsKey(self, key: Any) -> bool:  # noqa: N802 - Java's name
        """Whether the key is there."""
        return key in self._items

    def containsValue(self, value: Any) -> bool:  # noqa: N802 - Java's name
        """Whether some key has the value."""
        return to_java(value) in self._items.values()

    def keySet(self) -> JavaSet:  # noqa: N802 - Java's name
        """The keys."""
        return JavaSet(self)

    def isEmpty(self) -> bool:  # noqa: N802 - Java's name
        """Whether there is no key."""
        return not self._items

    def size(self) -> int:
        """The number of keys."""
        return len(self._items)

    def toString(self) -> str:  # noqa: N802 - Java's name
        """Java's text of the map."""
        return text(self)


class JavaSet(_Hashed, MutableSet[Any]):
    """A java.util.Set."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__()
        self._items: dict[Any, None] = {}
        for item in items:
            self.add(item)

    def __contains__(self, value: object) -> bool:
        return value in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ordered(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self)) + "}" if self._items else "set()"

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)

    def add(self, value: Any) -> None:
        """Put a value in."""
        self._items[to_java(value)] = None
        self._grow(len(self._items))

    def discard(self, value: Any) -> None:
        """Take a value out; KeyError if it is not there, as py4j does."""
        del self._items[value]

    def contains(self, value: Any) -> bool:
        """Whether the value is in."""
        return value in self._items

    def size(self) -> int:
        """The number of values."""
        return len(self._items)

    def isEmpty(self) -> bool:  # noqa: N802 - Java's name
        """Whether there is no value."""
        return not self._items

    def toString(self) -> str:  # noqa: N802 - Java's name
        """Java's text of the set."""
        return text(self)


class JavaArray(Sequence[Any]):
    """A Java array: fixed length, iterable, sliceable."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = list(items)

    def __getitem__(self, key: Any) -> Any:
        return JavaArray(self._items[key]) if isinstance(key, slice) else self._items[key]

    def __setitem__(self, key: int, value: Any) -> None:
        self._items[key] = to_java(value)

    def __len__(self) -> int:
        return len(self._items)


class JavaList(MutableSequence[Any]):
    """A java.util.List."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = [to_java(item) for item in items]

    def __getitem__(self, key: Any) -> Any:
        return JavaList(self._items[key]) if isinstance(key, slice) else self._items[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items[key] = [to_java(item) for item in value] if isinstance(key, slice) else to_java(value)

    def __delitem__(self, key: Any) -> None:
        del self._items[key]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JavaList) and self._items == other._items

    __hash__ = None  # type: ignore[assignment]  # mutable, like the sequence it stands for

    def __repr__(self) -> str:
        return "[" + ", ".join(map(repr, self._items)) + "]"

    def __add__(self, other: JavaList) -> JavaList:
        return JavaList([*self._items, *other._items])

    def __mul__(self, times: int) -> JavaList:
        return JavaList(self._items * times)

    def insert(self, index: int, value: Any) -> None:
        """Put a value in before the index."""
        self._items.insert(index, to_java(value))

    def add(self, *arguments: Any) -> bool:
        """`add(value)` at the end, or `add(index, value)`."""
        *index, value = arguments
        self.insert(index[0] if index else len(self._items), value)
        return True

    def addAll(self, other: Iterable[Any]) -> bool:  # noqa: N802 - Java's name
        """Put all values of another list at the end."""
        self.extend(list(other))
        return True

    def sort(self) -> None:
        """Sort in place."""
        self._items.sort()

    def get(self, index: int) -> Any:
        """The value at the index."""
        return self._items[index]

    def set(self, index: int, value: Any) -> Any:
        """Replace the value at the index; answers the one before."""
        before, self._items[index] = self._items[index], to_java(value)
        return before

    def contains(self, value: Any) -> bool:
        """Whether the value is in."""
        return to_java(value) in self._items

    def indexOf(self, value: Any) -> int:  # noqa: N802 - Java's name
        """The first index of the value, or -1."""
        return self._items.index(value) if value in self._items else -1

    def size(self) -> int:
        """The number of values."""
        return len(self._items)

    def isEmpty(self) -> bool:  # noqa: N802 - Java's name
        """Whether there is no value."""
        return not self._items

    def toString(self) -> str:  # noqa: N802 - Java's name
        """Java's text of the list."""
        return text(self)


def encode(value: Any) -> Any:
    """A Java value as JSON: scalars as they are, everything else as a list that begins with its kind."""
    if isinstance(value, bytes):
        return ["b", base64.b64encode(value).decode("ascii")]
    if isinstance(value, Decimal):
        return ["d", str(value)]
    if isinstance(value, JavaMap):
        return ["m", *([encode(key), encode(item)] for key, item in value.items())]
    if isinstance(value, JavaSet):
        return ["s", *map(encode, value)]
    if isinstance(value, (JavaList, JavaArray)):
        return ["l", *map(encode, value)]
    return value


def decode(value: Any) -> Any:
    """The value of an encoded one, as another process of the scheduler would read it."""
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind == "b":
        return base64.b64decode(items[0])
    if kind == "d":
        return Decimal(items[0])
    if kind == "l":
        return JavaList(map(decode, items))
    result = JavaSet(map(decode, items)) if kind == "s" else JavaMap((decode(k), decode(v)) for k, v in items)
    result.reread(len(result))
    return result


def text(value: Any) -> str:
    """Java's `toString` of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, bytes):
        return f"[B@{hash(value) & 0xFFFFFFFF:x}"
    if isinstance(value, JavaMap):
        return "{" + ", ".join(f"{text(key)}={text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (JavaList, JavaSet, JavaArray)):
        return "[" + ", ".join(map(text, value)) + "]"
    return str(value)


def _double(value: float) -> str:
    """`Double.toString`: plain from 0.001 to 10,000,000, else mantissa and exponent."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        plain = f"{Decimal(repr(value)):f}"
        return plain if "." in plain else plain + ".0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    number = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) - 1 + int(exponent)
    return f"{'-' if sign else ''}{number[0]}.{number[1:] or '0'}E{power}"
