"""Job descriptors as documents: read, changed and written for a catalog.

The schema fixes the order of elements; whatever is put in stands where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from lxml import etree

from proactive_tasks.overlay.errors import WorkflowError

NAMESPACE = "urn:proactive:jobdescriptor:3.13"

JOB_ORDER = (
    "variables",
    "description",
    "genericInformation",
    "inputSpace",
    "outputSpace",
    "globalSpace",
    "userSpace",
    "taskFlow",
    "metadata",
)
TASK_ORDER = (
    "description",
    "variables",
    "genericInformation",
    "depends",
    "inputFiles",
    "parallel",
    "selection",
    "forkEnvironment",
    "pre",
    "nativeExecutable",
    "javaExecutable",
    "scriptExecutable",
    "controlFlow",
    "post",
    "cleaning",
    "outputFiles",
    "metadata",
)


def read(source: bytes, name: str) -> etree._Element:
    """The job element of a descriptor.

    Raises:
        WorkflowError: it is not XML, or no job of the schema that this package is written in.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, strip_cdata=False, remove_blank_text=False)
    try:
        job = etree.fromstring(source, parser)
    except etree.XMLSyntaxError as error:
        raise WorkflowError(f"{name}: not well-formed XML: {error.msg}") from error
    if job.tag != tag("job"):
        raise WorkflowError(f"{name}: its root is {job.tag}, and not a job of {NAMESPACE}")
    return job


def write(job: etree._Element) -> bytes:
    """The descriptor as a file: the same job gives the same bytes."""
    etree.indent(job, space="  ")
    return etree.tostring(job, xml_declaration=True, encoding="UTF-8") + b"\n"


def tag(name: str) -> str:
    """The name of an element with its namespace."""
    return f"{{{NAMESPACE}}}{name}"


def all_of(element: etree._Element, path: str) -> list[etree._Element]:
    """All elements at a path of plain names."""
    return element.findall("/".join(tag(step) for step in path.split("/")))


def one_of(element: etree._Element, path: str) -> etree._Element | None:
    """The first element at a path of plain names."""
    return element.find("/".join(tag(step) for step in path.split("/")))


def tasks(job: etree._Element) -> list[etree._Element]:
    """The tasks of a job."""
    return all_of(job, "taskFlow/task")


def code_of(task: etree._Element) -> etree._Element | None:
    """The script that a task runs, where it stands in the file."""
    return one_of(task, "scriptExecutable/script/code")


def text_of(element: etree._Element, path: str) -> str:
    """The text at a path, in one paragraph."""
    return " ".join((element.findtext("/".join(tag(step) for step in path.split("/"))) or "").split())


def variables(element: etree._Element) -> dict[str, dict[str, str]]:
    """The variables of a job or a task: attributes by name."""
    return {
        each.get("name", ""): {str(key): str(value) for key, value in each.items()}
        for each in all_of(element, "variables/variable")
    }


def section(element: etree._Element, name: str, order: tuple[str, ...]) -> etree._Element:
    """The child of that name; made where it belongs when it is not there."""
    found = one_of(element, name)
    if found is not None:
        return found
    later = {tag(each) for each in order[order.index(name) + 1 :]}
    made = etree.Element(tag(name))
    position = next((index for index, child in enumerate(element) if child.tag in later), len(element))
    element.insert(position, made)
    return made


def drop(element: etree._Element, *names: str) -> None:
    """Take the children of these names out."""
    for name in names:
        for child in all_of(element, name):
            element.remove(child)


def set_variables(job: etree._Element, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Give a job these variables and no others, in this order."""
    drop(job, "variables")
    into = section(job, "variables", JOB_ORDER)
    for name, attributes in wanted.items():
        add(into, "variable", {"name": name} | {key: value for key, value in attributes.items() if key != "name"})


def set_description(job: etree._Element, text: str) -> None:
    """Give a job or a task its description."""
    order = JOB_ORDER if job.tag == tag("job") else TASK_ORDER
    section(job, "description", order).text = etree.CDATA(text)


def set_info(element: etree._Element, name: str, value: str) -> None:
    """Set one generic information of a job or a task."""
    order = JOB_ORDER if element.tag == tag("job") else TASK_ORDER
    into = section(element, "genericInformation", order)
    for info in all_of(into, "info"):
        if info.get("name") == name:
            info.set("value", value)
            return
    add(into, "info", {"name": name, "value": value})


def drop_info(element: etree._Element, name: str) -> None:
    """Take one generic information of a job or a task out."""
    for parent in all_of(element, "genericInformation"):
        for each in all_of(parent, "info"):
            if each.get("name") == name:
                parent.remove(each)


def info(element: etree._Element) -> dict[str, str]:
    """The generic information of a job or a task."""
    return {each.get("name", ""): each.get("value", "") for each in all_of(element, "genericInformation/info")}


def add(parent: etree._Element, name: str, attributes: Mapping[str, str] | None = None) -> etree._Element:
    """Append a child."""
    child = etree.SubElement(parent, tag(name))
    for key, value in (attributes or {}).items():
        child.set(key, value)
    return child


def with_script(parent: etree._Element, language: str, text: str) -> None:
    """Put a script with its text below an element."""
    if "]]>" in text:
        raise WorkflowError("a script must not hold ]]>, which ends it in a job descriptor; write it another way")
    code = add(add(parent, "script"), "code", {"language": language})
    code.text = etree.CDATA(text)


def with_environment(job: etree._Element, script: str, files: str, declared: Mapping[str, Mapping[str, str]]) -> None:
    """Have each cpython task find this package: an environment script, and the files that it may want.

    Args:
        job: the job, which is changed.
        script: the text of the environment script, in groovy.
        files: what to bring from the global space.
        declared: the variables that the script reads.

    Raises:
        WorkflowError: a task has a fork environment of its own.
    """
    known = variables(job)
    set_variables(job, known | {name: values for name, values in declared.items() if name not in known})
    for task in tasks(job):
        code = code_of(task)
        if code is None or code.get("language", "").lower() != "cpython":
            continue
        fork = section(task, "forkEnvironment", TASK_ORDER)
        if one_of(fork, "envScript") is not None:
            raise WorkflowError(f"task {task.get('name')}: it has an environment script, and cannot have a second")
        with_script(add(fork, "envScript"), "groovy", script)
        wanted = {"includes": files, "accessMode": "transferFromGlobalSpace"}
        add(section(task, "inputFiles", TASK_ORDER), "files", wanted)


def line_of(element: etree._Element) -> int:
    """Where an element stands in its file."""
    return cast("int", element.sourceline or 0)
