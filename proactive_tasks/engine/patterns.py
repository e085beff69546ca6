"""Content patterns of a RELAX NG schema, and their derivatives: what may follow after a child element.

Brzozowski's derivatives, as James Clark describes them for RELAX NG (https://relaxng.org/jclark/derivative.html), for
element names alone; attributes and text are left to `Grammar.attributes` and libxml2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

RNG = "{http://relaxng.org/ns/structure/1.0}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of child elements: empty, element, sequence, choice or repetition."""

    kind: str
    name: str = ""
    parts: tuple[Pattern, ...] = ()
    node: etree._Element | None = field(default=None, compare=False)


EMPTY = Pattern("empty")


@dataclass(slots=True)
class Attribute:
    """An attribute that a pattern knows."""

    required: bool
    types: list[etree._Element]


def nullable(pattern: Pattern) -> bool:
    """Whether nothing more has to come."""
    match pattern.kind:
        case "empty" | "star":
            return True
        case "sequence":
            return all(map(nullable, pattern.parts))
        case "choice":
            return any(map(nullable, pattern.parts))
    return False


def first(pattern: Pattern) -> list[Pattern]:
    """The elements that may come next."""
    found: list[Pattern] = []
    if pattern.kind == "element":
        found.append(pattern)
    for part in pattern.parts:
        found += first(part)
        if pattern.kind == "sequence" and not nullable(part):
            break
    return found


def after(pattern: Pattern, name: str) -> Pattern | None:
    """What may follow after an element of this name; None if it may not come."""
    match pattern.kind:
        case "element":
            return EMPTY if pattern.name in (name, "*") else None
        case "choice":
            return _choice([after(part, name) for part in pattern.parts])
        case "star":
            rest = after(pattern.parts[0], name)
            return None if rest is None else _sequence(rest, pattern)
        case "sequence":
            head, *tail = pattern.parts
            rest_of_tail = _sequence(*tail)
            taken = after(head, name)
            options = [None if taken is None else _sequence(taken, rest_of_tail)]
            if nullable(head):
                options.append(after(rest_of_tail, name))
            return _choice(options)
    return None


def _sequence(*parts: Pattern) -> Pattern:
    kept = tuple(part for part in parts if part.kind != "empty")
    return kept[0] if len(kept) == 1 else Pattern("sequence", parts=kept) if kept else EMPTY


def _choice(options: list[Pattern | None]) -> Pattern | None:
    kept = tuple(option for option in options if option is not None)
    return None if not kept else kept[0] if len(kept) == 1 else Pattern("choice", parts=kept)


class Grammar:
    """A schema, read as far as a walk along a document needs it."""

    def __init__(self, grammar: etree._Element) -> None:
        self._defined = {str(each.get("name")): each for each in grammar.iter(f"{RNG}define")}
        start = grammar.find(f"{RNG}start")
        self.start = EMPTY if start is None else self._group(start)

    def body(self, element: Pattern) -> Pattern:
        """What stands inside an element; its node serves `attributes`."""
        if element.node is None:
            return EMPTY
        inside = self._group(element.node)
        return Pattern("sequence", parts=(inside,), node=element.node)

    def _group(self, node: etree._Element) -> Pattern:
        return _sequence(*map(self._pattern, _content(node)))

    def _pattern(self, node: etree._Element) -> Pattern:
        match etree.QName(node).localname:
            case "ref":
                return self._group(self._defined[str(node.get("name"))])
            case "element":
                return Pattern("element", name=node.get("name") or "*", node=node)
            case "optional":
                return Pattern("choice", parts=(EMPTY, self._group(node)))
            case "choice":
                return Pattern("choice", parts=tuple(map(self._pattern, _content(node))))
            case "zeroOrMore":
                return Pattern("star", parts=(self._group(node),))
            case "oneOrMore":
                once = self._group(node)
                return _sequence(once, Pattern("star", parts=(once,)))
            case "group" | "interleave":
                return self._group(node)
        return EMPTY

    def attributes(self, body: Pattern) -> dict[str, Attribute]:
        """The attributes of the element whose body this is."""
        found: dict[str, Attribute] = {}
        if body.node is not None:
            self._collect(body.node, found, required=True)
        return found

    def _collect(self, node: etree._Element, found: dict[str, Attribute], *, required: bool) -> None:
        for child in _content(node):
            match etree.QName(child).localname:
                case "attribute":
                    found[_expanded(child)] = Attribute(required, self._types(child))
                case "ref":
                    self._collect(self._defined[str(child.get("name"))], found, required=required)
                case "optional" | "choice" | "zeroOrMore":
                    self._collect(child, found, required=False)
                case "group" | "interleave" | "oneOrMore":
                    self._collect(child, found, required=required)

    def _types(self, node: etree._Element) -> list[etree._Element]:
        found: list[etree._Element] = []
        for child in _content(node):
            match etree.QName(child).localname:
                case "data" | "value":
                    found.append(child)
                case "ref":
                    found += self._types(self._defined[str(child.get("name"))])
                case "choice" | "group":
                    found += self._types(child)
        return found


def _content(node: etree._Element) -> list[etree._Element]:
    """The patterns inside a pattern, without annotations and name classes."""
    inside = [child for child in node if isinstance(child.tag, str) and child.tag.startswith(RNG)]
    return [child for child in inside if etree.QName(child).localname not in ("anyName", "nsName", "name", "param")]


def _expanded(attribute: etree._Element) -> str:
    """An attribute's name as lxml writes it: with its namespace in braces."""
    prefix, colon, local = str(attribute.get("name")).rpartition(":")
    return f"{{{attribute.nsmap[prefix]}}}{local}" if colon else local
