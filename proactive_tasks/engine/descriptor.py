"""Reads job descriptors."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from lxml import etree

from . import flow, models, schema
from .support import check_names, check_support, is_ours
from .task.substitution import references, substitute
from .workflow import (
    Command,
    Files,
    Flow,
    NotSupportedError,
    RefusedError,
    Script,
    TaskSpec,
    Variable,
    Workflow,
    line_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SIZE_LIMIT = 10_000_000
ON_ERROR = ("cancelJob", "suspendTask", "pauseJob", "continueJobExecution")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d([.,]\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
LANGUAGES = {"cpython": "cpython", "bash": "bash"}
ELSEWHERE = ("groovy", "python", "jython", "shell", "cmd", "powershell", "perl", "php", "scala", "docker-compose")
"""Languages of a scheduler that are missing here: refused, where one that a scheduler lacks as well fails its task."""

SUFFIXES = {".cpy": "cpython", ".sh": "bash", ".bash": "bash"}
NAME_LENGTH = 255
INT_MAX = 2**31 - 1
ACCESS = {
    "inputFiles": re.compile(r"(transfer|cache)From(Input|Output|Global|User)Space|none", re.IGNORECASE),
    "outputFiles": re.compile(r"transferTo(Output|Global|User)Space|none", re.IGNORECASE),
}
DURATION = re.compile(r"\d+(:\d{1,2}){0,2}")


def load(
    source: Path | bytes, variables: Mapping[str, str] | None = None, credentials: Collection[str] = ()
) -> Workflow:
    """Read, resolve and check a job descriptor, with values for its variables.

    Raises:
        RefusedError: the file cannot be read, or the scheduler would refuse it, or the embedded engine does.
    """
    workflow = read(source, variables)
    check(workflow, credentials)
    return workflow


def read(source: Path | bytes, variables: Mapping[str, str] | None = None) -> Workflow:
    """Read and resolve a job descriptor; whether its values fit and its flow makes sense is for `check`.

    Raises:
        RefusedError: the file cannot be read, or its schema or the embedded engine does not allow it.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(SIZE_LIMIT + 1)
        except OSError as error:
            raise RefusedError(f"{error.filename}: {error.strerror}; name a readable workflow file") from error
    job = parse(source)
    schema.validate(job, source)
    return _Reader(job, dict(variables or {})).workflow()


def check(
    workflow: Workflow,
    credentials: Collection[str] = (),
    services: Collection[str] = (),
    objects: models.Objects | None = None,
) -> None:
    """Check the values of a workflow's variables, its flow, and what its scripts use of the scheduler's services.

    Raises:
        RefusedError: the scheduler would refuse it, or the embedded engine does.
    """
    models.check(workflow, credentials, objects)
    flow.check(workflow)
    check_names(workflow, services)


def parse(source: bytes) -> etree._Element:
    """The document, without what could make reading it dangerous.

    Raises:
        RefusedError: it is too large, not XML, or has a document type declaration.
    """
    if len(source) > SIZE_LIMIT:
        raise RefusedError(f"the workflow is larger than {SIZE_LIMIT // 1_000_000} MB; give tasks their data in files")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(source, parser)
    except etree.XMLSyntaxError as error:
        raise RefusedError(f"At [tag:job] : the workflow is not well-formed XML: {error.msg}") from error
    if cast("str", root.getroottree().docinfo.doctype):  # type: ignore[union-attr]  # the stubs lack it
        raise RefusedError("At [tag:job] : a document type declaration is not accepted; take <!DOCTYPE ...> out")
    return root


def records(job: etree._Element) -> Workflow:
    """The records of a document that the schema allows, its variables with the values that it gives them."""
    return _Reader(job, {}).workflow()


class _Reader:
    """Turns the validated document into records; substitutes the job's variables on the way."""

    def __init__(self, job: etree._Element, overrides: dict[str, str]) -> None:
        self.job = job
        self.prefix = "{" + (etree.QName(job).namespace or "") + "}"
        self.variables = self._variables(job)
        self.unknown = [name for name in overrides if name not in self.variables]
        for name, value in overrides.items():
            self.variables[name] = replace(self.variables.get(name, Variable(name, "")), value=value)
        raw = {name: variable.value for name, variable in self.variables.items()}
        self.values = {name: _interpolate(value, raw, "job/variables") for name, value in raw.items()}
        self.variables = {
            name: replace(variable, value=self.values[name], model=self._text(variable.model), inherited=False)
            for name, variable in self.variables.items()
        }

    def workflow(self) -> Workflow:
        check_support(self.job, self.prefix, self._text)
        tasks = [self._task(element) for element in self._all(self.job, "taskFlow/task")]
        generic = self._generic(self.job)
        for where in (generic, *(task.generic for task in tasks)):
            start_at(where)
        return Workflow(
            name=self._attribute(self.job, "name"),
            variables=self.variables,
            generic=generic,
            tasks={task.name: task for task in tasks},
            project=self._attribute(self.job, "projectName"),
            priority=self._attribute(self.job, "priority") or "normal",
            description=self._description(self.job),
            warnings=tuple(f"variable {name!r} is not declared by the workflow: added" for name in self.unknown),
        )

    def _all(self, element: etree._Element, path: str) -> list[etree._Element]:
        return element.findall("/".join(self.prefix + step for step in path.split("/")))

    def _one(self, element: etree._Element, path: str) -> etree._Element | None:
        return element.find("/".join(self.prefix + step for step in path.split("/")))

    def _text(self, value: str) -> str:
        return substitute(value, self.values)

    def _attribute(self, element: etree._Element, name: str) -> str:
        return self._text(element.get(name, ""))

    def _description(self, element: etree._Element) -> str | None:
        found = self._one(element, "description")
        return None if found is None else self._text(found.text or "").strip()

    def _variables(self, element: etree._Element) -> dict[str, Variable]:
        return {
            variable.get("name", ""): Variable(
                variable.get("name", ""),
                variable.get("value", ""),
                variable.get("model", ""),
                variable.get("inherited") == "true",  # "1" is true to the schema, and false to the scheduler
                variable.get("description"),
                variable.get("group"),
                variable.get("advanced") == "true",
                variable.get("hidden") == "true",
            )
            for variable in self._all(element, "variables/variable")
        }

    def _generic(self, element: etree._Element) -> dict[str, str]:
        return {
            self._attribute(info, "name"): self._attribute(info, "value")
            for info in self._all(element, "genericInformation/info")
        }

    def _task(self, element: etree._Element) -> TaskSpec:
        name = element.get("name", "")
        if len(name) > NAME_LENGTH:
            raise RefusedError(
                f"At [tag:job/taskFlow/task] [attribute:name] : The name is too long, it must have {NAME_LENGTH} chars "
                f"length max : {name}",
                "JobCreationException",
            )
        retry = self._inherited(element, "taskRetryDelay")
        scripts = {
            phase: self._script(found, phase)
            for phase, path in (
                ("environment", "forkEnvironment/envScript/script"),
                ("pre", "pre/script"),
                ("post", "post/script"),
                ("clean", "cleaning/script"),
            )
            if (found := self._one(element, path)) is not None and not (phase == "environment" and is_ours(found))
        }
        control = self._one(element, "controlFlow")
        fork = self._one(element, "forkEnvironment")
        return TaskSpec(
            name=name,
            line=line_of(element),
            executable=self._executable(element),
            depends=tuple(parent.get("ref", "") for parent in self._all(element, "depends/task")),
            scripts=scripts,
            flow=None if control is None else self._flow(control),
            block="none" if control is None else control.get("block", "none"),
            variables=self._task_variables(element),
            generic=self._generic(element),
            on_error=self._on_error(element),
            executions=self._executions(element),
            retry_delay=seconds(retry),
            walltime=seconds(self._attribute(element, "walltime")) or self._generic_walltime(element),
            environment={
                self._attribute(variable, "name"): self._attribute(variable, "value")
                for variable in self._all(element, "forkEnvironment/SystemEnvironment/variable")
            },
            working_directory="" if fork is None else self._attribute(fork, "workingDir"),
            precious=self._attribute(element, "preciousResult") in ("true", "1"),
            inputs=self._files(element, "inputFiles"),
            outputs=self._files(element, "outputFiles"),
            description=self._description(element),
        )

    def _files(self, element: etree._Element, kind: str) -> tuple[Files, ...]:
        """What is copied into the task's folder, or out of it. Of an access mode, no variable is put in."""
        found = self._all(element, f"{kind}/files")
        for mode in (files.get("accessMode", "") for files in found):
            if not ACCESS[kind].fullmatch(mode):
                word = "input" if kind == "inputFiles" else "Output"
                raise RefusedError(
                    f"At [task={element.get('name')}] : Unknow {word} access mode : {mode}", "JobCreationException"
                )
        return tuple(
            Files(files.get("accessMode", ""), files.get("includes", ""), files.get("excludes")) for files in found
        )

    def _task_variables(self, element: etree._Element) -> dict[str, Variable]:
        """A task's variables; they may refer to the job's and to one another."""
        variables = self._variables(element)
        own = {name: each.value for name, each in variables.items() if not (each.inherited and name in self.values)}
        known = {**self.values, **own}
        values = {
            name: _interpolate(each.value, known, "job/taskFlow/task/variables") for name, each in variables.items()
        }
        return {
            name: replace(each, value=values[name], model=substitute(each.model, {**self.values, **values}))
            for name, each in variables.items()
        }

    def _executions(self, element: etree._Element) -> int:
        """maxNumberOfExecution, of which the schema checks only what is written out."""
        for owner, tag in ((self.job, "job/taskFlow"), (element, "job/taskFlow/task/task")):
            value = self._text(owner.get("maxNumberOfExecution", "1"))
            fault = None
            if not re.fullmatch(r"\+?0*[0-9]{1,10}", value) or int(value) > INT_MAX:
                fault = f'For input string: "{value}"'
            elif int(value) == 0:
                fault = "The number of execution must be a non negative integer (>0) !"
            if fault:
                raise RefusedError(f"At [tag:{tag}] : {fault}", "JobCreationException")
        return int(self._inherited(element, "maxNumberOfExecution") or 1)

    def _inherited(self, element: etree._Element, name: str) -> str:
        """An attribute of the task, or the job's."""
        return self._attribute(element, name) or self._attribute(self.job, name)

    def _generic_walltime(self, element: etree._Element) -> float | None:
        generic = {**self._generic(self.job), **self._generic(element)}
        return seconds(generic.get("WALLTIME", ""))

    def _on_error(self, element: etree._Element) -> str:
        for owner in (element, self.job):
            value = self._attribute(owner, "onTaskError")
            if value in ON_ERROR:  # a variable's value is not checked: anything else counts as none
                return value
        return "continueJobExecution"

    def _executable(self, element: etree._Element) -> Script | Command:
        script = self._one(element, "scriptExecutable/script")
        if script is not None:
            return self._script(script, "task")
        command = self._one(element, "nativeExecutable/staticCommand")
        if command is None:
            raise NotSupportedError("javaExecutable", line_of(element))
        arguments = self._all(command, "arguments/argument")
        words = [self._attribute(word, "value") for word in (command, *arguments)]
        if any(re.search(r"\$\{?credentials_", word) for word in words):
            raise NotSupportedError("a credential in the arguments of a native command", line_of(command))
        return Command(tuple(words), line_of(command))

    def _flow(self, control: etree._Element) -> Flow | None:
        for kind in ("replicate", "if", "loop"):
            action = self._one(control, kind)
            script = None if action is None else self._one(action, "script")
            if action is not None and script is not None:
                targets = [action.get(name, "") for name in ("target", "else", "continuation")]
                return Flow(kind, self._script(script, "flow"), *targets)
        return None

    def _script(self, script: etree._Element, phase: str) -> Script:
        code, file = self._one(script, "code"), self._one(script, "file")
        arguments = tuple(self._attribute(value, "value") for value in script.iter(f"{self.prefix}argument"))
        if code is not None:
            text = code.text or ""
            # of all scripts, only a clean script's text has variables put in
            text = self._text(text) if phase == "clean" else text
            return Script(_language(code.get("language", ""), phase, code), text, None, arguments, line_of(code))
        if file is None:
            raise NotSupportedError("a script without code or file", line_of(script))
        path = self._attribute(file, "path")
        if path:  # the scheduler ignores the attribute `language` here: the extension decides
            language = SUFFIXES.get(Path(path).suffix, Path(path).suffix or path)
            return Script(_language(language, phase, file), _read(path, file), None, arguments, line_of(file))
        url = urlsplit(self._attribute(file, "url"))
        if url.scheme != "file":
            raise NotSupportedError(f"a script at a URL of scheme {url.scheme!r}", line_of(file))
        path = unquote(url.path)
        language = file.get("language") or Path(path).suffix
        return Script(_language(language, phase, file), None, path, arguments, line_of(file))


def _read(path: str, element: etree._Element) -> str:
    """The text of a script's file: a file is read at once, a URL when the script runs."""
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        task = next(element.iterancestors("{*}task"))
        message = f"At [task={task.get('name')}] : Unable to read script : {path}"
        raise RefusedError(message, "JobCreationException") from error


def _language(name: str, phase: str, element: etree._Element) -> str:
    language = LANGUAGES.get(name.lower())
    if language is None and re.fullmatch(r"[\w\-]+", name) and name.lower() not in ELSEWHERE:
        return name
    if language is None:
        raise NotSupportedError(f"script language {name!r}", line_of(element))
    if language == "bash" and phase in ("flow", "environment"):
        raise NotSupportedError(f"a {phase} script in bash", line_of(element))
    return language


def _interpolate(text: str, values: Mapping[str, str], where: str) -> str:
    """Put variables into a variable's value, and into what they stand for, however deep that goes."""
    try:
        _check_circles(text, values, where, [], set())
    except RecursionError:
        raise RefusedError(f"At [tag:{where}] : variables refer to one another too deeply") from None
    for _ in values:
        replaced = substitute(text, values, depth=1)
        if replaced == text:
            break
        if len(replaced) > SIZE_LIMIT:
            raise RefusedError(f"At [tag:{where}] : a variable's value is larger than {SIZE_LIMIT // 1_000_000} MB")
        text = replaced
    return text


def _check_circles(text: str, values: Mapping[str, str], where: str, path: list[str], checked: set[str]) -> None:
    for name in references(text):
        if name in path:
            circle = f"Infinite loop in property interpolation of ${{{path[0]}}}: {'->'.join(path)}"
            raise RefusedError(f"At [tag:{where}] : {circle}", "JobCreationException")
        if name in values and name not in checked:
            _check_circles(values[name], values, where, [*path, name], checked)
            checked.add(name)


def seconds(duration: str) -> float | None:
    """A duration `[[hh:]mm:]ss` in seconds; None for anything else: the scheduler checks only what is written out."""
    if not DURATION.fullmatch(duration.strip()):
        return None
    total = 0
    for part in duration.strip().split(":"):
        total = total * 60 + int(part)
    return float(total) or None


def start_at(generic: Mapping[str, str]) -> datetime | None:
    """The moment before which a task must not start, from the generic information START_AT."""
    value = generic.get("START_AT")
    if not value or "$" in value:
        return None
    try:
        if MOMENT.fullmatch(value):
            return datetime.fromisoformat(value).astimezone()
    except ValueError as error:
        raise RefusedError(f'Cannot parse "{value}": {error}', "JobCreationException") from error
    known = re.match(r"\d{4}-\d\d-\d\d|[Tt]?", value)
    rest = value[known.end() :] if known else value
    at = f' is malformed at "{rest}"' if rest != value else ""
    raise RefusedError(f'Invalid format: "{value}"{at}', "JobCreationException")
