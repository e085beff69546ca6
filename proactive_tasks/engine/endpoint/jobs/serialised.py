"""Java's object serialisation, as far as results of tasks need it: what a Java client reads without knowing of us.

Java Object Serialization Specification, chapter 6 (the grammar of the stream). Identifiers of classes are those of
every Java since 1.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proactive_tasks.engine.task.java import JavaArray, JavaList, JavaMap, JavaSet, text

HEADER = b"\xac\xed\x00\x05"
CODES = (0x70, 0x71, 0x72, 0x73, 0x74, 0x77, 0x78, 0x7C)
NULL, REFERENCE, CLASS, OBJECT, STRING, BLOCK, END, LONG_STRING = (bytes([code]) for code in CODES)
FIRST_HANDLE = 0x7E0000
WRITES = 1
"""A class's flag: it has a writeObject of its own."""


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    identifier: int
    fields: tuple[tuple[str, str], ...] = ()  # (name, type) as the Java machine writes types
    parent: _Class | None = None
    flags: int = 2


_NUMBER = _Class("java.lang.Number", 0x86AC951D0B94E08B)
_INTEGER = _Class("java.lang.Integer", 0x12E2A0A4F7818738, (("value", "I"),), _NUMBER)
_LONG = _Class("java.lang.Long", 0x3B8BE490CC8F23DF, (("value", "J"),), _NUMBER)
_DOUBLE = _Class("java.lang.Double", 0x80B3C24A296BFB04, (("value", "D"),), _NUMBER)
_BOOLEAN = _Class("java.lang.Boolean", 0xCD207280D59CFAEE, (("value", "Z"),))
_MAP = _Class("java.util.HashMap", 0x0507DAC1C31660D1, (("loadFactor", "F"), ("threshold", "I")), None, 2 | WRITES)
_SET = _Class("java.util.HashSet", 0xBA44859596B8B734, (), None, 2 | WRITES)
_LIST = _Class("java.util.ArrayList", 0x7881D21D99C7619D, (("size", "I"),), None, 2 | WRITES)
_THROWABLE = _Class(
    "java.lang.Throwable",
    0xD5C635273977B8CB,
    (
        ("cause", "Ljava/lang/Throwable;"),
        ("detailMessage", "Ljava/lang/String;"),
        ("stackTrace", "[Ljava/lang/StackTraceElement;"),
        ("suppressedExceptions", "Ljava/util/List;"),
    ),
    None,
    2 | WRITES,
)
_EXCEPTION = _Class("java.lang.Exception", 0xD0FD1F3E1A3B1CC4, (), _THROWABLE)


def serialised(value: Any) -> bytes:
    """The bytes of a value: raw ones as they are, everything else as a stream of Java's."""
    if isinstance(value, bytes):
        return value
    stream = _Stream()
    stream.write(value)
    return bytes(stream.data)


def exception(message: str) -> bytes:
    """A java.lang.Exception with this message."""
    stream = _Stream()
    stream.begin(_EXCEPTION)
    stream.data += NULL  # the cause
    stream.write(message)
    stream.data += NULL + NULL + END  # the stack trace, what it suppressed
    return bytes(stream.data)


class _Stream:
    """A stream that is being written; classes and the names of types are written once."""

    def __init__(self) -> None:
        self.data = bytearray(HEADER)
        self._handles = 0
        self._known: dict[Any, int] = {}

    def write(self, value: Any) -> None:
        """Append a value."""
        if value is None:
            self.data += NULL
        elif isinstance(value, bool):
            self._plain(_BOOLEAN, ">?", value)
        elif isinstance(value, int):
            small = -(2**31) <= value < 2**31
            self._plain(_INTEGER if small else _LONG, ">i" if small else ">q", value)
        elif isinstance(value, float):
            self._plain(_DOUBLE, ">d", value)
        elif isinstance(value, JavaMap):
            self._map(value)
        elif isinstance(value, JavaSet):
            self._collection(_SET, b"", struct.pack(">ifi", _capacity(len(value)), 0.75, len(value)), value)
        elif isinstance(value, (JavaList, JavaArray, list, tuple)):
            self._collection(_LIST, struct.pack(">i", len(value)), struct.pack(">i", len(value)), value)
        else:
            self._string(value if isinstance(value, str) else text(value))

    def begin(self, kind: _Class) -> None:
        """Append the head of an object."""
        self.data += OBJECT
        self._class(kind)
        self._handles += 1

    def _plain(self, kind: _Class, form: str, value: Any) -> None:
        self.begin(kind)
        self.data += struct.pack(form, value)

    def _map(self, value: JavaMap) -> None:
        self.begin(_MAP)
        capacity = _capacity(len(value))
        self.data += struct.pack(">fi", 0.75, int(capacity * 0.75))
        self.data += BLOCK + b"\x08" + struct.pack(">ii", capacity, len(value))
        for key, item in value.items():
            self.write(key)
            self.write(item)
        self.data += END

    def _collection(self, kind: _Class, fields: bytes, block: bytes, items: Any) -> None:
        self.begin(kind)
        self.data += fields + BLOCK + bytes([len(block)]) + block
        for item in items:
            self.write(item)
        self.data += END

    def _string(self, value: str) -> None:
        encoded = _modified_utf8(value)
        if len(encoded) < 2**16:
            self.data += STRING + struct.pack(">H", len(encoded)) + encoded
        else:
            self.data += LONG_STRING + struct.pack(">q", len(encoded)) + encoded
        self._handles += 1

    def _class(self, kind: _Class | None) -> None:
        if kind is None:
            self.data += NULL
            return
        if self._refer(kind):
            return
        name = kind.name.encode("ascii")
        self.data += CLASS + struct.pack(">H", len(name)) + name + struct.pack(">Q", kind.identifier)
        self._remember(kind)
        self.data += struct.pack(">BH", kind.flags, len(kind.fields))
        for field, of in kind.fields:
            self.data += of[0].encode("ascii") + struct.pack(">H", len(field)) + field.encode("ascii")
            if of[0] in "L[" and not self._refer(of):
                self.data += STRING + struct.pack(">H", len(of)) + of.encode("ascii")
                self._remember(of)
        self.data += END
        self._class(kind.parent)

    def _refer(self, key: Any) -> bool:
        if key not in self._known:
            return False
        self.data += REFERENCE + struct.pack(">I", self._known[key])
        return True

    def _remember(self, key: Any) -> None:
        self._known[key] = FIRST_HANDLE + self._handles
        self._handles += 1


def _capacity(size: int) -> int:
    """The table that a java.util.HashMap has grown to."""
    capacity = 16
    while size > capacity * 0.75:
        capacity *= 2
    return capacity


def _modified_utf8(value: str) -> bytes:
    """A text as Java writes it: NUL in two bytes, and each half of a surrogate pair in three."""
    plain: Callable[[str], bytes] = lambda letter: letter.encode("utf-8", "surrogatepass")  # noqa: E731
    if value.isascii() and "\0" not in value:
        return value.encode("ascii")
    pieces = []
    for letter in value:
        if letter == "\0":
            pieces.append(b"\xc0\x80")
        elif ord(letter) > 0xFFFF:
            units = struct.unpack(">HH", letter.encode("utf-16-be"))
            pieces += [plain(chr(unit)) for unit in units]
        else:
            pieces.append(plain(letter))
    return b"".join(pieces)
