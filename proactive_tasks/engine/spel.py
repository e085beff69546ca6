"""A small part of SpEL, the expression language of `PA:SPEL(...)`: conditions on values, nothing that changes one.

Known: `#value`, `variables['X']`, strings, numbers, true, false, null, comparisons by sign or word (`ge`), `matches`,
and, or, not, `? :`, `valid = ...`, arithmetic on whole numbers and others, the common methods of strings, and
`T(Integer).parseInt(...)` with its like. Anything else is refused by its text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import regexp

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|'(?P<single>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\""
    r"|(?P<name>java\.lang\.\w+|[A-Za-z_]\w*)|(?P<mark>==|!=|<=|>=|&&|\|\||[#!<>()\[\].,?:+\-*/%=]))"
)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "matches": lambda text, pattern: regexp.fits(pattern, text),
}
_COMPARISONS |= {
    word: _COMPARISONS[sign]
    for word, sign in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="))
}
_JAVA = {str: "String", bool: "Boolean", int: "Integer", float: "Double"}
_METHODS: dict[str, Callable[..., Any]] = {
    "length": len,
    "isEmpty": lambda text: not text,
    "isBlank": lambda text: not text.strip(),
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
    "equals": operator.eq,
    "equalsIgnoreCase": lambda text, other: text.lower() == other.lower(),
    "matches": lambda text, pattern: regexp.fits(pattern, text),
    "indexOf": str.find,
    "substring": lambda text, begin, end=None: text[begin:end],
    "trim": str.strip,
    "toLowerCase": str.lower,
    "toUpperCase": str.upper,
}
_PARSERS: dict[str, Callable[[str], Any]] = {
    "parseInt": int,
    "parseLong": int,
    "parseShort": int,
    "parseFloat": float,
    "parseDouble": float,
    "parseBoolean": lambda text: text.lower() == "true",
}
_TYPES = ("Integer", "Long", "Short", "Float", "Double", "Boolean")


def check(expression: str, value: str, name: str, values: Mapping[str, str]) -> str | None:
    """Why the value does not fit the expression, in the scheduler's words; None if it does.

    Raises:
        ValueError: the expression cannot be evaluated, or is more than this part of SpEL.
    """
    try:
        found = _Evaluation(expression, value, {**values, name: value}).result()
    except (TypeError, AttributeError, RecursionError, re.error) as error:
        raise ValueError(f"SPEL expression raised an error: {error}") from error
    if not isinstance(found, bool):
        unset = "'valid' variable has not been set and SPEL expression did not return a boolean value."
        raise ValueError(unset)  # noqa: TRY004 - the expression's value is wrong, not a type of ours
    return None if found else f"SPEL expression returned false, received {value}"


class _Evaluation:
    """Evaluates while it reads, from left to right, tightest binding last."""

    def __init__(self, expression: str, value: str, variables: Mapping[str, str]) -> None:
        self._value, self._variables = value, variables
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while expression[position:].strip():
            match = _TOKEN.match(expression, position)
            if match is None:
                raise _unsupported(expression[position:])
            self._tokens.append((str(match.lastgroup), str(match[str(match.lastgroup)])))
            position = match.end()

    def result(self) -> Any:
        if self._tokens[:2] == [("name", "valid"), ("mark", "=")]:
            del self._tokens[:2]
        found = self._choice()
        if self._tokens:
            raise _unsupported(self._tokens[0][1])
        return found

    def _accept(self, *words: str) -> str | None:
        if self._tokens and self._tokens[0][0] in ("mark", "name") and self._tokens[0][1] in words:
            return self._tokens.pop(0)[1]
        return None

    def _expect(self, word: str) -> None:
        if self._accept(word) is None:
            raise _unsupported(self._tokens[0][1] if self._tokens else "the end of the expression")

    def _choice(self) -> Any:
        condition = self._either()
        if not self._accept("?"):
            return condition
        first = self._choice()
        self._expect(":")
        second = self._choice()
        return first if condition else second

    def _either(self) -> Any:
        found = self._both()
        while self._accept("||", "or", "OR"):
            other = self._both()
            found = found or other
        return found

    def _both(self) -> Any:
        found = self._comparison()
        while self._accept("&&", "and", "AND"):
            other = self._comparison()
            found = found and other
        return found

    def _comparison(self) -> Any:
        found = self._sum()
        word = self._accept(*_COMPARISONS)
        return _compared(word, found, self._sum()) if word else found

    def _sum(self) -> Any:
        found = self._product()
        while word := self._accept("+", "-"):
            other = self._product()
            found = found + other if word == "+" else found - other
        return found

    def _product(self) -> Any:
        found = self._unary()
        while word := self._accept("*", "/", "%", "div", "mod"):
            other = self._unary()
            found = found * other if word == "*" else _divided(found, other, rest=word in ("%", "mod"))
        return found

    def _unary(self) -> Any:
        if self._accept("!", "not", "NOT"):
            return not self._unary()
        if self._accept("-"):
            return -self._unary()
        found = self._primary()
        while self._accept("."):
            found = self._call(_METHODS, found)
        return found

    def _primary(self) -> Any:
        if self._accept("("):
            found = self._choice()
            self._expect(")")
            return found
        if self._accept("#"):
            self._expect("value")
            return self._value
        if self._accept("T"):
            return self._static()
        if self._accept("variables"):
            self._expect("[")
            found = self._variables.get(self._choice())
            self._expect("]")
            return found
        return self._literal()

    def _literal(self) -> Any:
        kind, word = self._tokens.pop(0) if self._tokens else ("end", "the end of the expression")
        constants = {"true": True, "false": False, "null": None}
        if kind == "number":
            return float(word) if "." in word else int(word)
        if kind in ("single", "double"):
            return word.replace("''" if kind == "single" else '""', "'" if kind == "single" else '"')
        if kind == "name" and word in constants:
            return constants[word]
        raise _unsupported(word)

    def _static(self) -> Any:
        self._expect("(")
        if not self._accept(*_TYPES, *(f"java.lang.{name}" for name in _TYPES)):
            raise _unsupported(self._tokens[0][1] if self._tokens else "T(")
        self._expect(")")
        self._expect(".")
        return self._call(_PARSERS)

    def _call(self, known: Mapping[str, Callable[..., Any]], *subject: Any) -> Any:
        kind, word = self._tokens.pop(0) if self._tokens else ("end", "the end of the expression")
        if kind != "name" or word not in known:
            raise _unsupported(word)
        self._expect("(")
        arguments = list(subject)
        while not self._accept(")"):
            arguments.append(self._choice())
            self._accept(",")
        try:
            return known[word](*arguments)
        except ValueError as error:
            raise ValueError(f'For input string: "{arguments[-1]}"') from error


def _compared(word: str, one: Any, other: Any) -> Any:
    """A comparison; its position is told as that of a comparison that stands alone."""
    try:
        return _COMPARISONS[word](one, other)
    except TypeError as error:
        kinds = [f"class java.lang.{_JAVA.get(type(each), 'Object')}" for each in (one, other)]
        raise TypeError(f"EL1013E:(pos 0): Cannot compare instances of {kinds[0]} and {kinds[1]}") from error


def _divided(number: Any, by: Any, *, rest: bool) -> Any:
    """Java's division: towards zero between whole numbers, and the rest has the sign of the number divided."""
    if by == 0:
        raise ValueError("/ by zero")
    whole = isinstance(number, int) and isinstance(by, int)
    quotient = abs(number) // abs(by) * (1 if (number < 0) == (by < 0) else -1)
    if rest:
        return number - quotient * by
    return quotient if whole else number / by


def _unsupported(word: str) -> ValueError:
    return ValueError(f"The embedded engine does not support {word!r} in a SPEL expression")
