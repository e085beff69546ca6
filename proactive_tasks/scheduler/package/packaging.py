"""The package for a catalog: which objects it holds, and what it says of them.

Workflows, rules and scripts are taken from `workflows/` and `catalog/` as they stand there; catalog/METADATA.json says
what cannot be derived. What is made of the workflows is in `derived`, how it is written into archives in `archives`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lxml import etree

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.scheduler.package import derived, jobfile, wheel

BUCKET = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")
OBJECT = re.compile(r"[^\s/,]+(\s+[^\s/,]+)*")
KIND = re.compile(r"([a-zA-Z0-9][a-zA-Z0-9_. ;=+-]{0,61}[a-zA-Z0-9]/?)+")
"""What a catalog takes for the names of buckets and objects, for kinds and content types."""

ENVIRONMENT = "overlay_environment.groovy"
STANDARD, SERVICE, TASK_SCRIPT, XML = "Workflow/standard", "Workflow/psa", "Script/task", "application/xml"

RULES = {"Ping": "Rule/host"}
"""The kind of a rule by what it polls."""

METRICS = (("Cpu", "Rule/cpu"), ("Memory", "Rule/memory"), ("FileSystem", "Rule/file-system"), ("Net", "Rule/network"))
"""The kind of a rule by the metric that it watches."""

SCRIPTS = {
    ".groovy": ("Script/environment", "text/x-groovy"),
    ".py": (TASK_SCRIPT, "text/x-python"),
    ".sh": ("Text", "text/x-sh"),
}
"""Kind and content type of a file in `catalog/` by its suffix."""


@dataclass(frozen=True)
class PackageObject:
    """An object for a catalog; `content` is what is sent."""

    name: str
    kind: str
    content_type: str
    file: str
    content: bytes = field(repr=False)
    project: str
    tags: str = ""

    @cached_property
    def digest(self) -> str:
        """What tells one content from another, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def workflow(self) -> bool:
        """Whether a catalog parses it, and stores it in another form."""
        return self.kind.lower().startswith("workflow")


@dataclass(frozen=True)
class Package:
    """All that is installed: objects into one bucket, files into the global data space below `slug`."""

    name: str
    slug: str
    metadata: Mapping[str, str]
    bucket: str
    user_group: str
    message: str
    objects: tuple[PackageObject, ...]
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def version(self) -> str:
        """The version of the package."""
        return self.metadata["version"]

    def message_for(self, wanted: PackageObject) -> str:
        """The commit message by which an object is known again: what -pkg expects, version and content."""
        return f"{self.message} {self.version} sha256:{wanted.digest[:12]}"


def checkout() -> Path:
    """Where `workflows/` and `catalog/` stand.

    Raises:
        InputError: this package was installed without them.
    """
    top = Path(__file__).parents[3]
    if not (top / "catalog" / "METADATA.json").is_file():
        raise InputError("the catalog package is made from a checkout of the project, and this is an installed one")
    return top


def check_bucket(name: str) -> None:
    """Tell whether a catalog would take the name of a bucket.

    Raises:
        InputError: it would not.
    """
    if not BUCKET.fullmatch(name):
        raise InputError(
            f"bucket {name!r}: a catalog takes 3 to 63 lower-case letters, digits and hyphens, beginning with a letter "
            "and not ending with a hyphen; name it e.g. network-overlay"
        )


def load(top: Path, bucket: str = "", *, with_wheel: bool = True) -> Package:
    """Make the package of a checkout.

    Args:
        top: the checkout.
        bucket: into which bucket; by itself the one that METADATA.json names. References to it follow.
        with_wheel: build this package's wheel, too.

    Raises:
        InputError: the bucket's name is none, a file cannot be read, or two objects have one name.
        WorkflowError: a workflow cannot be changed as it has to be; the message names it.
    """
    if bucket:
        check_bucket(bucket)
    try:
        values = json.loads((top / "catalog" / "METADATA.json").read_text("utf-8"))
        made = _Objects(top, values, bucket or values["catalog"]["bucket"])
        objects = tuple(made.all())
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; the package is made from a whole checkout") from error
    except (ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"catalog/METADATA.json: {type(error).__name__} {error}; put it right") from error
    names = [each.name for each in objects]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"object {', '.join(twice)}: more than one has this name; rename a file")
    for each in objects:
        if not (OBJECT.fullmatch(each.name) and KIND.fullmatch(each.kind) and KIND.fullmatch(each.content_type)):
            raise InputError(f"object {each.name!r}: no catalog takes this name, kind or content type; rename its file")
    metadata = values["metadata"]
    return Package(
        name="".join(metadata["name"].split()),
        slug=metadata["slug"],
        metadata=metadata,
        bucket=made.bucket,
        user_group=values["catalog"]["userGroup"],
        message=values["catalog"]["commitMessage"],
        objects=objects,
        files=dict([wheel.build(top)]) if with_wheel else {},
    )


class _Objects:
    """Makes the objects of a package."""

    def __init__(self, top: Path, values: dict[str, Any], bucket: str) -> None:
        self.bucket = bucket
        self._folder, self._values, self._catalog = top / "catalog", values, values["catalog"]
        self._project: str = self._catalog["projectName"]
        environment = self._folder / ENVIRONMENT
        self._environment = environment.read_text("utf-8") if environment.is_file() else ""
        self._jobs = {
            path.stem: jobfile.read(self._followed(path.read_bytes()), f"workflows/{path.name}")
            for path in sorted((top / "workflows").glob("*.xml"))
        }

    def all(self) -> Iterator[PackageObject]:
        for name, job in self._jobs.items():
            yield self._workflow(name, STANDARD, job, self._project)
        yield from self._tasks()
        yield from self._services()
        for path in sorted((self._folder / "rules").glob("*.xml")):
            yield self._made(path.stem, _rule_kind(path), XML, path.name, self._followed(path.read_bytes()))
        for path in sorted(self._folder.iterdir()):
            if path.suffix in SCRIPTS:
                yield self._made(path.stem, *SCRIPTS[path.suffix], path.name, path.read_bytes())

    def _tasks(self) -> Iterator[PackageObject]:
        project = f"{self._project} Tasks"
        for step in derived.steps(self._jobs):
            declared = derived.arguments(step, self._values["variables"])
            name = f"Task_{step.name}"
            yield self._workflow(name, STANDARD, derived.single_task(step, name, project, declared), project)
            script = derived.script(step, declared).encode()
            name = f"Script_{step.name}"
            yield self._made(name, TASK_SCRIPT, "text/x-python", f"{name}.py", script, project)

    def _services(self) -> Iterator[PackageObject]:
        project, service = f"{self._project} Service", self._values["service"]
        for workflow, states in service["states"].items():
            name = f"Service_{workflow}"
            job = derived.action(self._jobs[workflow], name, project, service["id"], states)
            yield self._workflow(name, SERVICE, job, project)

    def _workflow(self, name: str, kind: str, job: etree._Element, project: str) -> PackageObject:
        job = copy.deepcopy(job)
        if self._environment:
            slug, words = self._values["metadata"]["slug"], self._values["variables"]
            declared = {each: words[each] for each in ("NODE_ENVIRONMENT", "CONTAINER_IMAGE")}
            jobfile.with_environment(job, self._environment, f"{slug}/*.whl", declared)
        # Without tags: a catalog of 14 writes them into the job, and a scheduler of 13 refuses such a job.
        return self._made(name, kind, XML, f"{name}.xml", jobfile.write(job), project, tags="")

    def _made(
        self,
        name: str,
        kind: str,
        content_type: str,
        file: str,
        content: bytes,
        project: str = "",
        tags: str | None = None,
    ) -> PackageObject:
        said = self._catalog["objects"].get(name, {})
        return PackageObject(
            name=name,
            kind=said.get("kind", kind),
            content_type=said.get("contentType", content_type),
            file=file,
            content=content,
            project=said.get("projectName", project or self._project),
            tags=said.get("tags", self._catalog["tags"] if tags is None else tags),
        )

    def _followed(self, content: bytes) -> bytes:
        """References to the bucket, where it has another name than in the files."""
        own = self._catalog["bucket"].encode()
        if self.bucket.encode() == own:
            return content
        return re.sub(rb"(?<![\w-])" + re.escape(own) + rb"(?![\w-])", self.bucket.encode(), content)


def _rule_kind(path: Path) -> str:
    text = path.read_text("utf-8")
    polled = re.search(r'<pollingClass\s+value="(\w+)"', text)
    if polled and polled[1] in RULES:
        return RULES[polled[1]]
    metric = re.search(r"sigar:Type=(\w+)", text)
    found = [kind for word, kind in METRICS if metric and metric[1].startswith(word)]
    return found[0] if found else "Rule/host"
