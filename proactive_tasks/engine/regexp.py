"""Regular expressions of Java, as Python's: what the two write differently and people use."""

from __future__ import annotations

import re

_CLASSES = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~",
    "XDigit": "0-9a-fA-F",
    "Space": r"\s",
    "ASCII": r"\x00-\x7f",
}
_REFUSED = {"(?P": "Unknown inline modifier"}
_OTHERS = {"(?<": "(?P<", r"\z": r"\Z", r"\Z": r"(?=\n?\Z)", r"\h": r"[ \t\xa0\u2000-\u200a\u202f\u205f\u3000]"}
_COUNT = re.compile(r"\{\d+(?:,\d*)?(\})?")
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|$)|\\p\{(?P<kind>\w+)\}|\\.|\(\?<(?=[A-Za-z])|\(\?P|\{|&&|[\[\]]|.",
    re.DOTALL,
)


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text matches.

    Raises:
        ValueError: the pattern is not one of Java's, or uses what is not known here.
    """
    translated = translate(pattern)
    try:
        return re.fullmatch(translated, text, re.ASCII) is not None
    except re.error as error:
        raise _fault(pattern, error if len(translated) == len(pattern) else None, str(error)) from error


def _fault(pattern: str, error: re.error | None, text: str) -> ValueError:
    """Python's complaint about a pattern in Java's words, where both speak of the same places."""
    at = error.pos if error and error.pos is not None else -1
    message = error.msg if error and at >= 0 else ""
    if message == "unterminated character set":
        return _near("Unclosed character class", len(pattern) - 1, pattern)
    if message == "missing ), unterminated subpattern":
        return _near("Unclosed group", len(pattern), pattern)
    if message == "unbalanced parenthesis":
        return _near("Unmatched closing ')'", at - 1, pattern)
    if message in ("nothing to repeat", "multiple repeat"):
        return _near(f"Dangling meta character '{pattern[at]}'", at, pattern)
    if message.startswith("bad character range"):
        return _near("Illegal character range", at + 2, pattern)
    if message == "min repeat greater than max repeat":
        return _near("Illegal repetition range", pattern.index("}", at), pattern)
    return ValueError(f"{text[:1].upper()}{text[1:]}")


def _near(what: str, index: int, pattern: str) -> ValueError:
    """Java's message, with its mark below the place unless that is the pattern's end."""
    near = f" near index {index}" if index >= 0 else ""
    mark = f"\n{' ' * index}^" if 0 <= index < len(pattern) else ""
    return ValueError(f"{what}{near}\n{pattern}{mark}")


def translate(pattern: str) -> str:
    """The pattern in Python's words.

    Raises:
        ValueError: as above.
    """
    translated, inside = [], False
    for match in _TOKEN.finditer(pattern):
        word = match[0]
        if match["quoted"] is not None:
            translated.append(re.escape(match["quoted"]))
        elif match["kind"] is not None:
            members = _class(match["kind"], pattern)
            translated.append(members if inside else f"[{members}]")
        elif inside:
            if word in ("[", "&&"):
                raise ValueError(f"The embedded engine does not support {word!r} in a class of characters: {pattern}")
            inside = word != "]"
            translated.append(word)
        elif word in _REFUSED:
            raise _near(_REFUSED[word], match.end() - 1, pattern)
        elif word == "{" and not (count := _COUNT.match(pattern, match.start())):
            raise _near("Illegal repetition", match.end(), pattern)
        elif word == "{" and count and not count[1]:
            raise _near("Unclosed counted closure", count.end(), pattern)
        else:
            inside = word == "["
            translated.append(_OTHERS.get(word, word))
    return "".join(translated)


def _class(name: str, pattern: str) -> str:
    if name not in _CLASSES:
        raise ValueError(f"The embedded engine does not support \\p{{{name}}} in {pattern}")
    return _CLASSES[name]
