"""Whether a text is JSON, in the words of the scheduler's JSON reader (Jackson 1.9)."""

from __future__ import annotations

import re

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ESCAPES = '"\\/bfnrt'
_WORDS = {"t": "true", "f": "false", "n": "null"}
_CLOSING = {"ARRAY": "]", "OBJECT": "}"}
_DEPTH = 500
_END = "Unexpected end-of-input"
_VALUE = "expected a valid value (number, String, array, object, 'true', 'false' or 'null')"
_COMMENT = (
    "maybe a (non-standard) comment? (not recognized as one since Feature 'ALLOW_COMMENTS' not enabled for parser)"
)


def fault(text: str) -> str | None:
    """What is wrong with a text; None if it is blank, or one JSON value after another."""
    reader = _Reader(text)
    try:
        while not reader.ended():
            reader.value("ROOT", 0)
    except ValueError as error:
        return str(error)
    return None


class _Reader:
    """Reads from left to right; raises ValueError with the reader's words at the first fault."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def ended(self) -> bool:
        """Whether nothing but space is left."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches everywhere
        if self.text.startswith("/", self.at):
            raise self._unexpected(_COMMENT)
        return self.at >= len(self.text)

    def value(self, context: str, depth: int) -> None:
        """Read a whole value."""
        if depth > _DEPTH:
            raise ValueError("nested too deeply")
        opened = self.begin(context)
        if opened == "ARRAY":
            self._array(depth)
        elif opened == "OBJECT":
            self._object(depth)

    def begin(self, context: str) -> str:
        """Read the first token of a value; ARRAY or OBJECT if it opens one."""
        letter = self.text[self.at]
        if letter in "[{":
            self.at += 1
            return "ARRAY" if letter == "[" else "OBJECT"
        if letter in "]}":
            if context in ("ENTRY", "FIELD"):
                raise self._unexpected("expected a value")
            other = {"ARRAY": "]", "OBJECT": "}"}.get(context, "}" if letter == "]" else "]")
            raise ValueError(f"Unexpected close marker '{letter}': expected '{other}'")
        if letter == '"':
            self._string("was expecting closing quote for a string value")
        elif letter in _WORDS:
            self._word(_WORDS[letter])
        elif letter in "-+0123456789":
            self._number()
        elif self.text.startswith("NaN", self.at):
            self._word("NaN")
            what = "Non-standard token 'NaN': enable JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS to allow"
            raise ValueError(what)
        else:
            raise self._unexpected(_VALUE)
        return ""

    def _array(self, depth: int) -> None:
        first = True
        while not self._closed("ARRAY", first=first):
            self.value("ARRAY" if first else "ENTRY", depth + 1)
            first = False

    def _object(self, depth: int) -> None:
        first = True
        while not self._closed("OBJECT", first=first):
            if self.text[self.at] == "]" and first:
                raise ValueError("Unexpected close marker ']': expected '}'")
            if self.text[self.at] != '"':
                raise self._unexpected("was expecting double-quote to start field name")
            self._string("was expecting closing '\"' for name")
            self._more("OBJECT")
            if self.text[self.at] != ":":
                raise self._unexpected("was expecting a colon to separate field name and value")
            self.at += 1
            self._more("OBJECT")
            self.value("FIELD", depth + 1)
            first = False

    def _closed(self, kind: str, *, first: bool) -> bool:
        """Go past the closing mark, or to the next entry."""
        if self.ended():
            raise ValueError(f"{_END}: expected close marker for {kind}")
        letter = self.text[self.at]
        if letter == _CLOSING[kind]:
            self.at += 1
            return True
        if first:
            return False
        if letter in "]}":
            raise ValueError(f"Unexpected close marker '{letter}': expected '{_CLOSING[kind]}'")
        if letter != ",":
            raise self._unexpected(f"was expecting comma to separate {kind} entries")
        self.at += 1
        self._more(kind)
        return False

    def _more(self, kind: str) -> None:
        if self.ended():
            raise ValueError(f"{_END} within/between {kind} entries")

    def _string(self, unclosed: str) -> None:
        self.at += 1
        while True:
            if self.at >= len(self.text):
                raise ValueError(f"{_END}: {unclosed}")
            letter = self.text[self.at]
            if letter < " ":
                raise ValueError(
                    f"Illegal unquoted character ((CTRL-CHAR, code {ord(letter)})): "
                    "has to be escaped using backslash to be included in string value"
                )
            self.at += 1
            if letter == '"':
                return
            if letter == "\\":
                self._escape()

    def _escape(self) -> None:
        letter = self.text[self.at : self.at + 1]
        if not letter:
            raise ValueError(f"{_END} in character escape sequence")
        if letter not in _ESCAPES and letter != "u":
            raise ValueError(f"Unrecognized character escape {_shown(letter)}")
        self.at += 1
        for _ in range(4 if letter == "u" else 0):
            if self.at >= len(self.text):
                raise ValueError(f"{_END} in character escape sequence")
            if self.text[self.at] not in "0123456789abcdefABCDEF":
                raise self._unexpected("expected a hex-digit for character escape sequence")
            self.at += 1

    def _word(self, word: str) -> None:
        start = self.at
        for letter in word:
            if self.at >= len(self.text):
                raise ValueError(f"{_END} in a value")
            if self.text[self.at] != letter:
                raise self._unrecognized(start)
            self.at += 1
        if re.match(r"[\w$]", self.text[self.at :]):
            raise self._unrecognized(start)

    def _unrecognized(self, start: int) -> ValueError:
        rest = re.match(r"[\w$]*", self.text[self.at :])
        word = self.text[start : self.at] + (rest[0] if rest else "")
        return ValueError(f"Unrecognized token '{word}': was expecting ")

    def _number(self) -> None:
        if self.text[self.at] in "+-":
            what = "expected digit (0-9) to follow minus sign, for valid numeric value"
            ended = " in a value" if self.text[self.at] == "+" else "No digit following minus sign"
            self._digit(f"{_END}{ended}", what)
        if re.match(r"-?0\d", self.text[self.at :]):
            raise ValueError("Invalid numeric value: Leading zeroes not allowed")
        number = _NUMBER.match(self.text, self.at)
        assert number is not None  # noqa: S101 - it begins with a digit
        self.at = number.end()
        if self.text.startswith(".", self.at) and "." not in number[0] and "e" not in number[0].lower():
            what = "Decimal point not followed by a digit"
            self._digit(f"Unexpected character ({_shown('.')}) in numeric value: {what}", what)
        elif "e" not in number[0].lower() and (exponent := re.match(r"[eE][+-]?", self.text[self.at :])):
            self.at += exponent.end() - 1
            self._digit(f"{_END}expected a digit for number exponent", "Exponent indicator not followed by a digit")

    def _digit(self, ended: str, other: str) -> None:
        """The next letter has to be a digit, and after a minus sign alone."""
        following = self.text[self.at + 1 : self.at + 2]
        if not following:
            raise ValueError(ended)
        if self.text[self.at] == "+" or following not in "0123456789":
            raise ValueError(f"Unexpected character ({_shown(following)}) in numeric value: {other}")

    def _unexpected(self, why: str) -> ValueError:
        return ValueError(f"Unexpected character ({_shown(self.text[self.at])}): {why}")


def _shown(letter: str) -> str:
    code = ord(letter)
    if code < 32:
        return f"(CTRL-CHAR, code {code})"
    return f"'{letter}' (code {code}{f' / 0x{code:x}' if code > 255 else ''})"
