"""Says what the schema does not allow, in the scheduler's words.

libxml2 decides whether a document is valid; its messages seldom say why. This module walks the same RELAX NG schema
along the document to the first fault and names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.parsers import expat

from lxml import etree

if TYPE_CHECKING:
    from .patterns import Pattern

from .patterns import Grammar, after, first, nullable
from .task.java import JavaSet

SHOWN = 5
UNCOMPLETED = {
    "job": "Uncompleted job: At least one task must be defined.",
    "taskFlow": "Uncompleted job: At least one task must be defined.",
    "task": "Uncompleted task: At least the Executable element must be define.",
    "scriptExecutable": "Uncompleted scriptExecutable.",
}
NCNAME = re.compile(r"[^\W\d][\w.\-]*")
NUMBERS = {"nonNegativeInteger": r"\+?\d+", "positiveInteger": r"\+?0*[1-9]\d*", "boolean": r"true|false|0|1"}


@dataclass(slots=True)
class Fault:
    """What is wrong, and the element (or None: the end of the document) where it shows."""

    message: str
    element: etree._Element | None
    ended: bool = False  # it shows where the element ends, not where it begins
    before: str = ""  # what the scheduler says first, in a line of its own
    outside: bool = False  # of a task that is over by then, and so is not named


def explain(job: etree._Element, grammar: etree._Element, source: bytes) -> str | None:
    """The scheduler's message for the first fault of an invalid document; None if this walk finds none."""
    rules = Grammar(grammar)
    fault = next(_faults(job, rules.start, rules), None) or next(_identity(job), None)
    if fault is None:
        return None
    where = "" if fault.outside else _task(fault.element)
    line, column = _position(job, fault, source)
    return f"{where}{fault.before}Error: {fault.message} at line {line} , column {column}."


def _task(element: etree._Element | None) -> str:
    while element is not None and etree.QName(element).localname != "task":
        element = element.getparent()
    name = None if element is None else element.get("name")
    return f"At [task={name}] : " if name else ""


def _faults(element: etree._Element, allowed: Pattern, rules: Grammar) -> Iterator[Fault]:
    """Faults of an element that must match one of the element patterns which `allowed` begins with."""
    name = etree.QName(element).localname
    candidates = [pattern for pattern in first(allowed) if pattern.name in (name, "*")]
    if not candidates:
        names = sorted({f"<{pattern.name}>" for pattern in first(allowed)})
        allows = f'tag name "{name}" is not allowed. Possible tag names are: {",".join(names)}'
        yield Fault(allows if names else f'element "{name}" was found where no element may occur', element)
        return
    # where several patterns bear the name, the one with the fewest faults tells best
    yield from min((list(_inside(element, rules.body(each), rules)) for each in candidates), key=len)


def _inside(element: etree._Element, body: Pattern, rules: Grammar) -> Iterator[Fault]:
    yield from _attributes(element, body, rules)
    rest = body
    for child in element:
        yield from _faults(child, rest, rules)
        following = after(rest, etree.QName(child).localname)
        if following is None:
            return
        rest = following
    if not nullable(rest):
        yield _incomplete(element, rest)


def _incomplete(element: etree._Element, rest: Pattern) -> Fault:
    name = etree.QName(element).localname
    names = ",".join(sorted({f"<{pattern.name}>" for pattern in first(rest)}))
    before = f"{UNCOMPLETED[name]}\n" if name in UNCOMPLETED else ""
    message = f"uncompleted content model. expecting: {names}"
    return Fault(message, element, ended=True, before=before, outside=name == "task")


def _attributes(element: etree._Element, body: Pattern, rules: Grammar) -> Iterator[Fault]:
    name = etree.QName(element).localname
    known = rules.attributes(body)
    for attribute, value in element.attrib.items():
        key = str(attribute)
        if key not in known:
            yield Fault(f'unexpected attribute "{etree.QName(key).localname}"', element)
        elif (reason := _bad_value(str(value), known[key].types)) is not None:
            yield Fault(f'attribute "{etree.QName(key).localname}" has a bad value{reason}', element)
    for key, rule in known.items():
        if rule.required and key not in element.attrib:
            yield Fault(f'element "{name}" is missing "{key}" attribute', element)


def _bad_value(value: str, types: list[etree._Element]) -> str | None:
    """Why none of the data types takes a value; None if one does."""
    reasons = [_mismatch(value, each) for each in types]
    if not types or None in reasons:
        return None
    words = sorted(str(each.text).strip() for each in types if etree.QName(each).localname == "value")
    if words:
        return f". Possible values are: {','.join(words[:SHOWN])}" + (", and more" if len(words) < len(types) else "")
    return str(reasons[0]) if len(reasons) == 1 else ""


def _mismatch(value: str, kind: etree._Element) -> str | None:
    """Why a data type does not take a value; None if it does."""
    if etree.QName(kind).localname == "value":
        return None if value.strip() == str(kind.text).strip() else ""
    name = kind.get("type", "string")
    if name in ("NCName", "ID", "IDREF"):
        return None if NCNAME.fullmatch(value) else f': "{value}" does not satisfy the "{name}" type'
    if name in NUMBERS:
        refusal = f': "{value}" does not satisfy the "boolean" type' if name == "boolean" else ""
        return None if re.fullmatch(NUMBERS[name], value.strip()) else refusal
    for parameter in kind:
        limit = str(parameter.text)
        if parameter.get("name") == "minLength" and len(value) < int(limit):
            return f": the length of the value is {len(value)}, but the required minimum is {limit}."
        if parameter.get("name") == "pattern" and not re.fullmatch(
            limit.replace("${", "$\\{").replace("$", "\\$"), value
        ):
            return ""
    return None


def _identity(job: etree._Element) -> Iterator[Fault]:
    """Names of tasks that are referred to and not there, or used twice: known at the document's end.

    The scheduler keeps both in hash tables, and names the first that it meets there.
    """
    names = [task.get("name", "") for task in job.iter("{*}task") if task.get("ref") is None]
    targets = [task.get("ref", "") for task in job.iter("{*}task") if task.get("ref") is not None]
    for target in JavaSet(targets):
        if target not in names:
            yield Fault(f'"{target}" is referenced by an IDREF, but not defined.', None)
    for name in JavaSet(names):
        if names.count(name) > 1:
            yield Fault(f'"{name}" is used as an ID value more than once.', None)


def _position(job: etree._Element, fault: Fault, source: bytes) -> tuple[int, int]:
    """Line and column behind an element's start or end tag, or at the document's end."""
    end = len(source) if fault.element is None else _after_tag(job, fault.element, source, fault.ended)
    before = source[:end].decode("utf-8", "replace")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _after_tag(job: etree._Element, element: etree._Element, source: bytes, ended: bool) -> int:
    starts: list[int] = []
    ends: dict[int, int] = {}
    opened: list[int] = []
    parser = expat.ParserCreate()

    def start(*_: object) -> None:
        opened.append(len(starts))
        starts.append(parser.CurrentByteIndex)

    def end(*_: object) -> None:
        ends[opened.pop()] = parser.CurrentByteIndex

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(source, True)
    index = list(job.iter("*")).index(element)
    tag = re.compile(rb"""<(?:[^'">]|'[^']*'|"[^"]*")*>""")
    found = tag.match(source, starts[index])
    if ended and found and not found[0].endswith(b"/>"):
        found = tag.match(source, ends[index])
    return found.end() if found else starts[index]
