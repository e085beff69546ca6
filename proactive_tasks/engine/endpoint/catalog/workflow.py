"""What a catalog makes of a workflow: it checks it as the scheduler would, rewrites a part, and reads out the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from lxml import etree

from proactive_tasks.engine import descriptor, flow, models, schema
from proactive_tasks.engine.endpoint.catalog.rules import CatalogError
from proactive_tasks.engine.support import ATTRIBUTES, ELEMENTS
from proactive_tasks.engine.workflow import RefusedError, Variable

ICONS = {
    "workflow": "wf-icons/wf-default-icon.png",
    "calendar": "objects-icons/calendar_icon.png",
    "script": "objects-icons/script_icon.png",
    "nodesource": "objects-icons/node_source_icon.png",
    "policynodesource": "objects-icons/node_source_policy_icon.png",
    "infrastructurenodesource": "objects-icons/node_source_infrastructure_icon.png",
    "rule": "objects-icons/rule_icon.png",
}
PATTERNS = "/automation-dashboard/styles/patterns/img/"
UNCHECKED = re.compile(r"\s*PA:(CATALOG_OBJECT|MODEL_FROM_URL|(USER|GLOBAL)_(FILE|FOLDER))", re.IGNORECASE)
"""Models whose values only the scheduler looks up."""

OBJECT_MODEL = re.compile(r"\s*PA:CATALOG_OBJECT\s*(?:\((?P<rules>[^)]*)\))?(?P<optional>\?)?\s*", re.IGNORECASE)
LINK = re.compile(r"\$\{PA_CATALOG_REST_URL\}/buckets/([^/]+)/resources/([^/]+)(?:/revisions/(\d+))?/raw")
VARIABLE = ("name", "value", "model", "description", "group", "advanced", "hidden")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What is stored of a file."""

    content: bytes
    project: str
    key_values: list[dict[str, str]]
    variables: dict[str, dict[str, dict[str, Any]]]


def is_workflow(kind: str) -> bool:
    """Whether objects of this kind are parsed."""
    return kind.lower().startswith("workflow")


def parse(
    content: bytes, kind: str, name: str, bucket: str, group: str, project: str, hide: Callable[[str], str]
) -> Parsed:
    """A file of this kind as an object of this name: a workflow checked and rewritten, anything else as it is.

    An empty `project` takes the workflow's own; `hide` seals the value of a hidden variable.

    Raises:
        CatalogError: 422, a workflow that the scheduler would refuse.
    """
    place = [_pair("group", group, "generic_information"), _pair("bucketName", bucket, "generic_information")]
    if not is_workflow(kind):
        icon = ICONS.get(kind.lower().partition("/")[0])
        return Parsed(content, project, [*([_icon(PATTERNS + icon)] if icon else []), *place], {})
    check(content)
    root = etree.fromstring(content, etree.XMLParser(strip_cdata=False, resolve_entities=False, no_network=True))
    prefix = "{" + (etree.QName(root).namespace or "") + "}"
    _hide(root, prefix, hide)
    variables = [dict(each.attrib) for each in root.findall(f"{prefix}variables/{prefix}variable")]
    key_values = [*_key_values(root, prefix, variables), *place]
    root.set("name", name)
    if project:
        root.set("projectName", project)
    _inform(root, prefix, {"group": group, "bucketName": bucket})
    text = b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root.getroottree(), encoding="UTF-8")
    return Parsed(text, root.get("projectName", ""), key_values, _in_order(variables))


def check(source: bytes) -> None:
    """The scheduler's check of a workflow; what only the embedded engine refuses is a catalog's to keep.

    Raises:
        CatalogError: 422, with the scheduler's message.
    """
    try:
        job = descriptor.parse(source)
        schema.validate(job, source)
        workflow = descriptor.records(_skeleton(job))
        for variables in (workflow.variables, *(task.variables for task in workflow.tasks.values())):
            _leave_to_scheduler(variables)
        models.check(workflow, _Everything())
        flow.check(workflow)
    except RefusedError as error:
        message = str(error).partition(": ")[2]
        raise CatalogError(422, f"It was not possible to parse an object: {message}") from error


def dependencies(key_values: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    """The objects that an object needs, `bucket/object`, each with its revision or `latest`."""
    return [(each["key"], each["value"]) for each in key_values if each["label"] == "depends_on"]


class _Everything(frozenset[str]):
    """The credentials of a user whom the catalog does not know: whatever a workflow asks for."""

    def __contains__(self, _key: object) -> bool:
        return True


def _skeleton(job: etree._Element) -> etree._Element:
    """The document without what an engine runs, transfers or selects: that is not looked into here."""
    prefix = "{" + (etree.QName(job).namespace or "") + "}"
    for name in (element for element in ELEMENTS if element != "javaExecutable"):
        for element in list(job.iter(prefix + name)):
            parent = element.getparent()
            if parent is not None:
                parent.remove(element)
    for executable in list(job.iter(f"{prefix}javaExecutable", f"{prefix}nativeExecutable")):
        line = executable.sourceline
        executable.clear()
        executable.tag, executable.sourceline = f"{prefix}scriptExecutable", line
        etree.SubElement(executable, f"{prefix}script")
    for script in list(job.iter(f"{prefix}script")):
        for part in list(script):
            script.remove(part)
        etree.SubElement(script, f"{prefix}code", {"language": "cpython"})
    for element in job.iter(f"{prefix}*"):
        for attribute in ATTRIBUTES:
            element.attrib.pop(attribute, "")
    return job


def _leave_to_scheduler(variables: dict[str, Variable]) -> None:
    for name, variable in variables.items():
        if UNCHECKED.match(variable.model):
            fault = object_fault(variable.model, variable.value)
            if fault:
                raise RefusedError(f"At [tag:job] : Variable '{name}': Model {variable.model}: {fault}")
            variables[name] = replace(variable, model="")


def object_fault(model: str, value: str) -> str | None:
    """Why a value cannot be the name of an object (model PA:CATALOG_OBJECT), in the scheduler's words."""
    match = OBJECT_MODEL.fullmatch(model)
    if match is None:
        return None
    if (match["rules"] or "").count(",") > 1:
        return (
            f"Illegal parameters format for the model [{model}], the model CATALOG_OBJECT can have at most two "
            "parameters: kind and content type, split by comma."
        )
    if match["optional"] and not value.strip():
        return None
    if models.CATALOG_OBJECT.fullmatch(value) is None:
        return f"Expected value should match regular expression ^[^/]+/[^/]+(/[^/][0-9]{{12}})?$ , received {value}"
    return None


def object_rules(model: str) -> tuple[str, str]:
    """Of a model PA:CATALOG_OBJECT(kind,content type): how the object's kind and content type must begin."""
    match = OBJECT_MODEL.fullmatch(model)
    kind, _, content_type = ((match["rules"] or "") if match else "").partition(",")
    return kind.strip(), content_type.strip()


def _hide(root: etree._Element, prefix: str, hide: Callable[[str], str]) -> None:
    for variable in root.iter(f"{prefix}variable"):
        value = variable.get("value", "")
        if re.match(r"\s*PA:HIDDEN", variable.get("model", ""), re.IGNORECASE) and value:
            variable.set("value", hide(value))


def _key_values(root: etree._Element, prefix: str, variables: list[dict[str, str]]) -> list[dict[str, str]]:
    pairs = [_pair("name", root.get("name", ""), "job_information")]
    if root.get("projectName"):
        pairs.append(_pair("project_name", root.get("projectName", ""), "job_information"))
    for variable in variables:
        name = variable["name"]
        pairs.append(_pair(name, variable.get("value", ""), "variable"))
        told = [part for part in ("model", "description", "group") if variable.get(part)]
        pairs += [_pair(name, variable[part], f"variable_{part}") for part in told]
        pairs += [_pair(name, _boolean(variable, part), f"variable_{part}") for part in ("advanced", "hidden")]
    generic = {
        info.get("name", ""): info.get("value", "") for info in root.findall(f"{prefix}genericInformation/{prefix}info")
    }
    pairs += [
        _pair(name, value, "generic_information")
        for name, value in generic.items()
        if name not in ("bucketName", "group")
    ]
    description = root.findtext(f"{prefix}description")
    if description:
        pairs.append(_pair("description", description, "General"))
    pairs.append(_icon(generic.get("workflow.icon") or PATTERNS + ICONS["workflow"]))
    return pairs + [_pair(key, value, "depends_on") for key, value in _needs(root, prefix).items()]


def _needs(root: etree._Element, prefix: str) -> dict[str, str]:
    """The objects that variables of model PA:CATALOG_OBJECT and scripts by URL name."""
    found: dict[str, str] = {}
    for variable in root.iter(f"{prefix}variable"):
        value = variable.get("value", "")
        if OBJECT_MODEL.fullmatch(variable.get("model", "")) and models.CATALOG_OBJECT.fullmatch(value):
            bucket, name, *revision = value.split("/")
            found.setdefault(f"{bucket}/{name}", revision[0] if revision else "latest")
    for file in root.iter(f"{prefix}file"):
        link = LINK.fullmatch(file.get("url", ""))
        if link:
            found.setdefault(f"{link[1]}/{link[2]}", link[3] or "latest")
    return found


def _in_order(variables: list[dict[str, str]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The variables by group, in the workflow's order."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for variable in variables:
        shown: dict[str, Any] = {part: variable.get(part) for part in VARIABLE}
        shown |= {"group": variable.get("group", ""), "advanced": _boolean(variable, "advanced") == "true"}
        shown["hidden"] = _boolean(variable, "hidden") == "true"
        groups.setdefault(shown["group"], {})[variable["name"]] = shown
    return groups


def _inform(root: etree._Element, prefix: str, values: dict[str, str]) -> None:
    """Set generic information of the job."""
    generic = root.find(f"{prefix}genericInformation")
    if generic is None:
        generic = etree.Element(f"{prefix}genericInformation")
        before = [
            index for index, each in enumerate(root) if each.tag in (f"{prefix}variables", f"{prefix}description")
        ]
        root.insert(before[-1] + 1 if before else 0, generic)
    for name, value in values.items():
        known = [info for info in generic.findall(f"{prefix}info") if info.get("name") == name]
        for info in known:
            info.set("value", value)
        if not known:
            etree.SubElement(generic, f"{prefix}info", {"name": name, "value": value})


def _boolean(variable: dict[str, str], name: str) -> str:
    return "true" if variable.get(name, "").lower() in ("true", "1") else "false"


def _pair(key: str, value: str, label: str) -> dict[str, str]:
    return {"key": key, "value": value, "label": label}


def _icon(path: str) -> dict[str, str]:
    return _pair("main.icon", path, "General")
