"""What a submission may carry, checked before it is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lxml import etree

from proactive_tasks.overlay.errors import SchedulerInputError
from proactive_tasks.scheduler.client.rest import segment

MAX_WORKFLOW = 10_000_000
"""Bytes of a workflow's XML."""

MAX_VARIABLE = 100_000
"""Bytes of a variable's value: bash and native tasks get it in their environment, of which Linux takes 128 KiB each."""

PLAIN = re.compile(r"[\w.,:@~ +-]*", re.ASCII)
MAX_MATRIX = 2000


def check_workflow(source: bytes) -> None:
    """Refuse what no scheduler should be sent.

    Raises:
        SchedulerInputError: it is empty, or too large.
    """
    if not source.strip():
        raise SchedulerInputError("the workflow is empty; name a file that holds a job descriptor")
    if len(source) > MAX_WORKFLOW:
        raise SchedulerInputError(
            f"the workflow has {len(source)} bytes, more than {MAX_WORKFLOW}; "
            "put what makes it large into the data space"
        )


def check_variables(variables: Mapping[str, str]) -> None:
    """Refuse a value that is too large for a variable.

    Raises:
        SchedulerInputError: with the variable's name, and what to do.
    """
    for name, value in variables.items():
        if (size := len(str(value).encode(errors="surrogatepass"))) > MAX_VARIABLE:
            raise SchedulerInputError(
                f"variable {name} has {size} bytes, more than the {MAX_VARIABLE} that a variable can hold; put it into "
                f"the data space and name it there, e.g. {name}=user:overlay.yaml"
            )


def filled(source: bytes, variables: Mapping[str, str]) -> tuple[str, bytes]:
    """How values reach a validation, which takes them in its path only.

    Returns:
        what stands in the path, and the document: where a value does not fit a path, with the values written into it.
    """
    if all(PLAIN.fullmatch(value) for value in variables.values()):
        path = "".join(f";{segment(name)}={segment(value)}" for name, value in variables.items())
        if len(path) <= MAX_MATRIX:
            return path, source
    try:
        tree = etree.fromstring(source, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return "", source  # the server says what is wrong with it
    for variable in tree.iterfind("{*}variables/{*}variable"):
        if (value := variables.get(str(variable.get("name")))) is not None:
            variable.set("value", value)
    return "", etree.tostring(tree, xml_declaration=True, encoding="UTF-8")
