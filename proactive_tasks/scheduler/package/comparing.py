"""What a catalog holds of an object, compared with what was sent.

A catalog writes a workflow anew: the job takes the object's name and project, two pieces of generic information are its
own, tags become an attribute, hidden values are encrypted, and blank space is set as its writer likes. Everything else
has to be as it was. Other objects are kept byte by byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from lxml import etree

from proactive_tasks.scheduler.package.packaging import PackageObject

OF_THE_CATALOG = {"bucketName", "group"}
OF_THE_OBJECT = {"name", "projectName", "tags"}
LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
ENCRYPTED = "(hidden)"


@dataclass(frozen=True)
class _Element:
    tag: str
    attributes: tuple[tuple[str, str], ...]
    text: str
    children: tuple[_Element, ...]

    def __str__(self) -> str:
        named = dict(self.attributes).get("name") or dict(self.attributes).get("ref")
        return f"{self.tag} {named}" if named else self.tag


def difference(wanted: PackageObject, found: bytes) -> str:
    """Where what was found differs from what is wanted, in a few words; empty where it does not."""
    if not wanted.workflow:
        return "" if found == wanted.content else f"{len(found)} bytes are there, of other content"
    try:
        there = _normal(found)
    except etree.XMLSyntaxError as error:
        return f"what is there is no XML: {error.msg}"
    return _first(_normal(wanted.content), there, "")


def _normal(content: bytes) -> _Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    return _element(etree.fromstring(content, parser))


def _element(element: etree._Element) -> _Element:
    tag = etree.QName(element).localname
    attributes = {str(key): str(value) for key, value in element.items() if key != LOCATION}
    if tag == "job":
        attributes = {key: value for key, value in attributes.items() if key not in OF_THE_OBJECT}
    if tag == "variable" and attributes.get("model", "").upper() == "PA:HIDDEN":
        attributes["value"] = ENCRYPTED
    children = [_element(child) for child in element]
    if tag == "genericInformation":
        parent = element.getparent()
        own = parent is not None and etree.QName(parent).localname == "job"
        names = [(dict(child.attributes).get("name", ""), child) for child in children]
        children = [
            child for name, child in sorted(names, key=lambda each: each[0]) if not (own and name in OF_THE_CATALOG)
        ]
    lines = (element.text or "").strip().splitlines()
    text = "\n".join(line.rstrip() for line in lines)
    return _Element(tag, tuple(sorted(attributes.items())), text, tuple(children))


def _first(wanted: _Element, found: _Element, where: str) -> str:
    """The first difference, in the order of the document."""
    here = f"{where} > {wanted}" if where else str(wanted)
    if wanted.tag != found.tag:
        return f"{where}: {found} is there in place of {wanted}"
    if wanted.attributes != found.attributes:
        left, right = dict(wanted.attributes), dict(found.attributes)
        key = next(each for each in sorted({*left, *right}) if left.get(each) != right.get(each))
        return f"{here}: {key} is {right.get(key)!r}, and should be {left.get(key)!r}"
    if wanted.text != found.text:
        return f"{here}: its text is another"
    for there, should in zip_longest(found.children, wanted.children):
        if should is None or there is None:
            return f"{here}: {there} should not be there" if should is None else f"{here}: {should} is missing"
        if told := _first(should, there, here):
            return told
    return ""
