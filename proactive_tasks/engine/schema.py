"""The scheduler's own RELAX NG schemas, read out of the installed `proactive` wheel."""

from __future__ import annotations

import functools
import importlib.util
import re
import zipfile
from pathlib import Path

from lxml import etree

from .explain import explain
from .workflow import RefusedError

NAMESPACE = re.compile(r"urn:proactive:jobdescriptor:(dev|3\.\d+)")
_FOLDER = "org/ow2/proactive/scheduler/common/xml/schemas/jobdescriptor"
_NO_SCHEMA = (
    'At [tag:job] : Cannot invoke "org.ow2.proactive.scheduler.common.job.factories.Schemas.getLocation()" because the '
    'return value of "org.ow2.proactive.scheduler.common.job.factories.Schemas.getSchemaByNamespace(String)" is null'
)


@functools.cache
def _schema_text(version: str) -> bytes | None:
    """The schema of a version; None if this release of the scheduler has none."""
    package = importlib.util.find_spec("proactive")
    for location in (package.submodule_search_locations or ()) if package else ():
        for jar in Path(location).glob("java/lib/scheduler-api-*.jar"):
            with zipfile.ZipFile(jar) as archive:
                name = f"{_FOLDER}/{version}/schedulerjob.rng"
                return archive.read(name) if name in archive.namelist() else None
    raise RefusedError("the schemas are in the package 'proactive', which is not installed: pip install proactive")


@functools.cache
def _schema(version: str) -> tuple[etree.RelaxNG, etree._Element] | None:
    text = _schema_text(version)
    if text is None:
        return None
    grammar = etree.fromstring(text)
    return etree.RelaxNG(grammar), grammar


def validate(job: etree._Element, source: bytes) -> None:
    """Refuse a job that its schema does not allow; the `xmlns` decides which schema that is.

    Raises:
        RefusedError: with the scheduler's text of the first fault.
    """
    namespace = NAMESPACE.fullmatch(etree.QName(job).namespace or "")
    found = _schema(namespace[1]) if namespace else None
    if found is None:
        raise RefusedError(_NO_SCHEMA)
    schema, grammar = found
    if not schema.validate(job):
        first = schema.error_log[0] if len(schema.error_log) else None
        fallback = f"Error: {first.message} at line {first.line} ." if first else "Error: the schema does not allow it."
        raise RefusedError("At [tag:job] : " + (explain(job, grammar, source) or fallback))
