"""YAML read so that every value knows its line, and so that nothing in the text can cost more than its length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from proactive_tasks.overlay.errors import SpecificationError

MAX_DEPTH = 16
"""Nesting beyond any sensible specification."""

DEEP = f"it is nested deeper than {MAX_DEPTH} levels; flatten it"

Path = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Document:
    """A YAML mapping and the line (from 1) of every value, by its path."""

    values: dict[str, Any]
    lines: dict[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest one around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _Reader:
    """Builds values from parse events, one document, without aliases, tags, duplicate keys or deep nesting."""

    def __init__(self, text: str, name: str) -> None:
        self.loader = _Loader(text)
        self.name = name
        self.lines: dict[Path, int] = {(): 1}

    def read(self) -> Document:
        try:
            self.loader.get_event()  # the stream's start
            if not self.loader.check_event(yaml.DocumentStartEvent):
                raise self.error(1, "it is empty; see docs/specification.schema.json for what it holds")
            self.loader.get_event()
            values = self.value((), self.loader.get_event())
            self.loader.get_event()
            if not self.loader.check_event(yaml.StreamEndEvent):
                raise self.error(self.line(self.loader.peek_event()), "a second document; keep one per file")
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            if "nesting" in (error.problem or ""):  # newer parsers have a limit of their own, and may read ahead
                raise self.error(line, DEEP) from error
            raise self.error(line, f"it is not valid YAML: {error.problem}; correct that line") from error
        except yaml.YAMLError as error:
            raise self.error(1, "it holds characters that YAML does not allow; save it as plain UTF-8 text") from error
        finally:
            self.loader.dispose()
        if not isinstance(values, dict):
            raise self.error(1, "it is not a mapping of keys to values; begin with 'version: 1'")
        return Document(values, self.lines)

    def value(self, path: Path, event: Any) -> Any:
        self.lines[path] = line = self.line(event)
        if isinstance(event, yaml.AliasEvent):
            raise self.error(line, f"an alias (*{event.anchor}) is not accepted; write the value out")
        if getattr(event, "tag", None) is not None:
            raise self.error(line, f"a tag ({event.tag}) is not accepted; write a plain value")
        if len(path) > MAX_DEPTH:
            raise self.error(line, DEEP)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.mapping(path)

    def scalar(self, event: Any) -> Any:
        tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return self.loader.construct_object(node)
        except ValueError as error:
            raise self.error(self.line(event), f"{event.value[:40]!r} is not a value; put it in quotes") from error

    def sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self.loader.get_event(), yaml.SequenceEndEvent):
            found.append(self.value((*path, len(found)), event))
        return found

    def mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self.loader.get_event(), yaml.MappingEndEvent):
            line = self.line(event)
            key = self.scalar(event) if isinstance(event, yaml.ScalarEvent) and event.tag is None else None
            if not isinstance(key, str):
                raise self.error(line, "a key is not a word; write 'key: value', with the key in quotes if need be")
            if key in found:
                raise self.error(line, f"the key {key[:40]!r} is there twice; keep one of them")
            found[key] = self.value((*path, key), self.loader.get_event())
            self.lines[(*path, key)] = line
        return found

    def line(self, event: Any) -> int:
        return int(event.start_mark.line) + 1

    def error(self, line: int, message: str) -> SpecificationError:
        return SpecificationError(f"{self.name}, line {line}: {message}")


def read(text: str, name: str) -> Document:
    """The one mapping that `text` holds; `name` stands for it in messages.

    Raises:
        SpecificationError: with the line, where it is not one plain YAML mapping.
    """
    return _Reader(text, name).read()
