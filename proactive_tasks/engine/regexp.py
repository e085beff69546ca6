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
_REFUSED = {"(?P": "Unknown inline modifier", "{,": "Illegal repetition"}
_OTHERS = {"(?<": "(?P<", r"\z": r"\Z", r"\Z": r"(?=\n?\Z)", r"\h": r"[ \t\xa0\u2000-\u200a\u202f\u205f\u3000]"}
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|$)|\\p\{(?P<kind>\w+)\}|\\.|\(\?<(?=[A-Za-z])|\(\?P|\{,|&&|[\[\]]|.",
    re.DOTALL,
)


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text matches.

    Raises:
        ValueError: the pattern is not one of Java's, or uses what is not known here.
    """
    try:
        return re.fullmatch(_translate(pattern), text, re.ASCII) is not None
    except re.error as error:
        raise ValueError(f"{str(error)[:1].upper()}{str(error)[1:]}") from error


def _translate(pattern: str) -> str:
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
            raise ValueError(f"{_REFUSED[word]} near index {match.end() - 1}\n{pattern}")
        else:
            inside = word == "["
            translated.append(_OTHERS.get(word, word))
    return "".join(translated)


def _class(name: str, pattern: str) -> str:
    if name not in _CLASSES:
        raise ValueError(f"The embedded engine does not support \\p{{{name}}} in {pattern}")
    return _CLASSES[name]
