"""`scripts/submit`: a workflow to a scheduler by REST, followed to its end, with its results and logs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from proactive_tasks.console.connection import (
    DEFAULT_URL,
    DEFAULT_USER,
    CaFileOption,
    CatalogUrlOption,
    CredentialsFileOption,
    InsecureOption,
    UrlOption,
    UserOption,
    connect,
)
from proactive_tasks.console.output import Output, OutputOption, answer
from proactive_tasks.console.script import FAILED, INTERRUPTED, application, main, tell
from proactive_tasks.overlay.errors import (
    InputError,
    JobDeadlineError,
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)

if TYPE_CHECKING:
    from proactive_tasks.console.remote import RemoteOutcome
    from proactive_tasks.scheduler.client import Scheduler

NAME = "submit"
BUCKET = "network-overlay"
DEADLINE_S = 3600.0
NOT_FOUND = 404

app = application()

JOB = {"min": 1, "max": 2**31 - 1, "metavar": "JOB", "show_default": False}
FollowOption = Annotated[int | None, typer.Option(help="Follow a job to its end, and show its results.", **JOB)]
StatusOption = Annotated[int | None, typer.Option(help="Show how a job stands; exit 1 if it failed.", **JOB)]
LogsOption = Annotated[int | None, typer.Option(help="Show what a job's tasks printed.", **JOB)]
KillOption = Annotated[int | None, typer.Option(help="Kill a job.", **JOB)]


@dataclass(frozen=True)
class Order:
    """What to submit, and what to do about it."""

    workflow: str
    bucket: str
    variables: dict[str, str]
    generic: dict[str, str]
    undeclared: bool
    uploads: Sequence[tuple[Path, str, str]]

    @property
    def file(self) -> Path | None:
        """The file, unless the workflow is one of the catalog."""
        return Path(self.workflow) if self.workflow.lower().endswith(".xml") else None


@app.command(
    epilog="Example: scripts/submit Deploy_Overlay -v SPEC=@overlay.yaml --wait --results results/",
    no_args_is_help=True,
)
def submit(
    workflow: Annotated[
        str, typer.Argument(metavar="[WORKFLOW]", help="Its name in the catalog, or a file that ends in .xml.")
    ] = "",
    variable: Annotated[
        list[str] | None,
        typer.Option(
            "-v", "--variable", metavar="NAME=VALUE", help="As often as needed; @FILE reads a file, @@ is a plain @."
        ),
    ] = None,
    generic: Annotated[
        list[str] | None,
        typer.Option("-g", "--generic", metavar="INFO=VALUE", help="Generic information; as often as needed."),
    ] = None,
    bucket: Annotated[str, typer.Option(help="The catalog's bucket.")] = BUCKET,
    undeclared: Annotated[bool, typer.Option(help="Allow variables that the workflow does not declare.")] = False,
    upload: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE=user:PATH", help="First put a file into a data space, user or global."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Follow the job to its end, and show its results.")
    ] = False,
    deadline: Annotated[float, typer.Option(min=0, metavar="S", help="How long to wait, in s.")] = DEADLINE_S,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the results that are to be kept there.")
    ] = None,
    follow: FollowOption = None,
    status: StatusOption = None,
    logs: LogsOption = None,
    task: Annotated[str | None, typer.Option(help="With --logs: only this task.")] = None,
    kill: KillOption = None,
    validate: Annotated[bool, typer.Option("--validate", help="Only ask what the scheduler thinks of it.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the last jobs.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --list: how many.")] = 20,
    url: UrlOption = DEFAULT_URL,
    user: UserOption = DEFAULT_USER,
    credentials_file: CredentialsFileOption = None,
    ca_file: CaFileOption = "",
    insecure: InsecureOption = False,
    catalog_url: CatalogUrlOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Submit a workflow to a scheduler; or follow, show, kill the job of a number.

    Exit code: 0 done (with --wait: the job FINISHED and no task failed), 1 failed, 2 bad input, 130 interrupted.
    """
    if not math.isfinite(deadline):
        raise InputError(f"--deadline {deadline}: is no time; give it in s, e.g. --deadline 600")
    if results and results.exists() and not results.is_dir():
        raise InputError(f"--results {results}: is no folder; name another")  # now, and not when the job is over
    order = Order(
        workflow,
        bucket,
        assignments(variable or ()),
        assignments(generic or (), "-g"),
        undeclared,
        uploads(upload or ()),
    )
    deeds: list[tuple[str, bool, Callable[[Scheduler], None]]] = [
        (
            "--follow",
            follow is not None,
            lambda s: _finish(s, _followed(s, follow or 0, deadline, output), results, output),
        ),
        ("--status", status is not None, lambda s: _status(s, status or 0, output)),
        ("--logs", logs is not None, lambda s: _logs(s, logs or 0, task)),
        ("--kill", kill is not None, lambda s: _kill(s, kill or 0, output)),
        ("--list", listed, lambda s: _list(s, limit, output)),
        ("WORKFLOW", bool(workflow), lambda s: _workflow(s, order, validate, wait, deadline, results, output)),
    ]
    wanted = [(name, deed) for name, asked, deed in deeds if asked]
    if len(wanted) > 1:
        raise InputError(f"{' and '.join(name for name, _ in wanted)}: one thing at a time; choose one")
    if not wanted and not order.uploads:
        raise InputError("what shall be submitted? Name a workflow, or ask for --list; --help tells more")
    with connect(url, user, credentials_file, ca_file, insecure, catalog_url) as scheduler:
        for file, space, path in order.uploads:
            scheduler.upload(space, path, file.read_bytes())
            tell(NAME, f"{file}: uploaded to {space}:{path}")
        for _, deed in wanted:
            deed(scheduler)


def assignments(words: Sequence[str], option: str = "-v") -> dict[str, str]:
    """Values by name, each given as NAME=VALUE, NAME=@FILE or NAME=@@ and a text that begins with @.

    Raises:
        InputError: a word is none of that, or its file cannot be read.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[^\W\d][\w.:-]*", name):
            example = "DRY_RUN=true" if option == "-v" else "NODE_SOURCE=campus"
            raise InputError(f"{option} {word[:60]!r}: write NAME=VALUE, e.g. {option} {example}")
        if value.startswith("@@"):
            value = value[1:]
        elif value.startswith("@"):
            value = _text(Path(value[1:]), f"{option} {name}")
        found[name] = value
    return found


def uploads(words: Sequence[str]) -> list[tuple[Path, str, str]]:
    """File, space and path of each FILE=user:PATH or FILE=global:PATH.

    Raises:
        InputError: a word is none of that, or the file is not there.
    """
    found = []
    for word in words:
        file, _, target = word.rpartition("=")
        space, _, path = target.partition(":")
        if not file or not path or space not in {"user", "global"}:
            raise InputError(f"--upload {word[:60]!r}: write FILE=user:PATH or FILE=global:PATH")
        if not Path(file).is_file():
            raise InputError(f"--upload {file}: is not there, or no file; check its name")
        found.append((Path(file), space, path))
    return found


def _text(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{what}: file {file}: {error.strerror}; check its name (@@ is a plain @)") from None
    except UnicodeDecodeError:
        raise InputError(f"{what}: file {file} is not UTF-8 text; save it as UTF-8") from None


def _workflow(
    scheduler: Scheduler,
    order: Order,
    validate: bool,
    wait: bool,
    deadline: float,
    results: Path | None,
    output: Output,
) -> None:
    """Submit, or only validate."""
    from proactive_tasks.scheduler.client.submission import check_variables

    check_variables(order.variables)
    source = _source(scheduler, order)
    _check(scheduler, order, source)
    if validate:
        _validate(scheduler, order, source, output)
        return
    job = _submitted(scheduler, order, source)
    if wait:
        _finish(scheduler, _followed(scheduler, job, deadline, output), results, output)
        return
    from proactive_tasks.console.remote import job_url

    where = job_url(scheduler, job)
    answer(
        output,
        {"job": job, "workflow": order.workflow, "url": where},
        lambda: f"job {job} {order.workflow}: submitted, {where}\nfollow it: scripts/submit --follow {job}",
    )


def _submitted(scheduler: Scheduler, order: Order, source: bytes) -> int:
    """The job's number."""
    try:
        if order.file:
            return scheduler.submit(source, order.variables, order.generic)
        return scheduler.submit_from_catalog(order.bucket, order.workflow, order.variables, order.generic)
    except SchedulerInputError as error:
        if type(error) is SchedulerInputError and error.said:
            raise SchedulerInputError(f"{order.workflow}: refused: {error.said}", error.status, error.said) from None
        raise
    except SchedulerUnreachableError as error:
        raise SchedulerUnreachableError(f"{error} (scripts/submit --list)") from None


def _source(scheduler: Scheduler, order: Order) -> bytes:
    """The workflow's XML."""
    if order.file is None:
        if "/" in order.workflow:
            raise InputError(f"workflow {order.workflow}: names in a catalog hold no /, and a file's ends in .xml")
        try:
            return scheduler.catalog.raw(order.bucket, order.workflow)
        except SchedulerInputError as error:
            if error.status != NOT_FOUND or isinstance(error, SchedulerVersionError):
                raise
            raise SchedulerInputError(
                f"workflow {order.workflow} is not in bucket {order.bucket} of {scheduler.catalog.url}; "
                "scripts/import_catalog puts the package there, --bucket names another",
                NOT_FOUND,
            ) from None
    try:
        return order.file.read_bytes()
    except OSError as error:
        raise InputError(f"workflow {order.file}: {error.strerror}; check its name") from None


def _check(scheduler: Scheduler, order: Order, source: bytes) -> None:
    """Refuse what is a slip of the pen; warn of credentials that the tasks will look for."""
    from proactive_tasks.scheduler.client.needs import declared
    from proactive_tasks.scheduler.client.rest import NO_SESSION

    found = declared(order.workflow, source)
    if (unknown := found.unknown(order.variables)) and not order.undeclared:
        raise InputError(
            f"{order.workflow} has no variable {', '.join(unknown)}; it has: {', '.join(found.variables) or 'none'} "
            "(--undeclared allows others)"
        )
    try:
        keys = scheduler.credentials()
    except SchedulerError as error:
        if isinstance(error, SchedulerUnreachableError) or error.status == NO_SESSION:
            raise
        tell(NAME, f"warning: the credentials cannot be listed: {error}")
        return
    for line in found.missing(order.variables, keys):
        tell(NAME, f"warning: credential {line}; scripts/credentials set {line.split()[0]}")


def _validate(scheduler: Scheduler, order: Order, source: bytes, output: Output) -> None:
    found = scheduler.validate(source, order.variables)
    if not found.valid:
        raise InputError(f"{order.workflow}: refused: {found.message}")
    values = {"workflow": order.workflow, "valid": True, "variables": dict(found.variables)}
    shown = [f"  {name}={value}" for name, value in sorted(found.variables.items())]
    answer(output, values, lambda: "\n".join([f"{order.workflow}: valid", *shown]))


def _followed(scheduler: Scheduler, job: int, deadline: float, output: Output) -> int:
    """The job, when it is over or waits for somebody."""
    from proactive_tasks.console.following import Following

    try:
        with Following(f"job {job}", shown=output is Output.TABLE) as following:
            scheduler.wait(job, deadline_s=deadline, on_change=following)
    except KeyboardInterrupt:
        tell(NAME, f"job {job} goes on; {_further(job)}")
        raise typer.Exit(INTERRUPTED) from None
    except JobDeadlineError as error:
        raise JobDeadlineError(f"{error}; {_further(job)}") from None
    except SchedulerUnreachableError as error:
        raise SchedulerUnreachableError(f"{error}; job {job} may go on; {_further(job)}") from None
    return job


def _further(job: int) -> str:
    return f"follow it: scripts/submit --follow {job}, kill it: scripts/submit --kill {job}"


def _finish(scheduler: Scheduler, job: int, results: Path | None, output: Output) -> None:
    """Show what a job did; exit 1 unless it succeeded."""
    from proactive_tasks.console.remote import outcome

    found = outcome(scheduler, job, results)
    answer(output, found.as_json(), found.table)
    if not found.succeeded:
        _fail(found)


def _fail(found: RemoteOutcome) -> NoReturn:
    for line in found.causes():
        tell(NAME, line)
    raise typer.Exit(FAILED)


def _status(scheduler: Scheduler, job: int, output: Output) -> None:
    """Show how a job stands; exit 1 if it failed, or waits for somebody."""
    from proactive_tasks.console.remote import outcome

    found = outcome(scheduler, job)
    answer(output, found.as_json(), found.table)
    if not found.succeeded and (found.job.over or found.job.stuck):
        _fail(found)


def _logs(scheduler: Scheduler, job: int, task: str | None) -> None:
    if task is not None:
        from proactive_tasks.console.remote import known_task

        task = known_task(scheduler.tasks(job), job, task)
    else:
        scheduler.job(job)  # which tells of an unknown one
    typer.echo(scheduler.log(job, task), nl=False)


def _kill(scheduler: Scheduler, job: int, output: Output) -> None:
    killed = scheduler.kill(job)
    status = scheduler.job(job).status
    told = "killed" if killed else f"was over: {status}"
    answer(output, {"job": job, "killed": killed, "status": status}, lambda: f"job {job}: {told}")


def _list(scheduler: Scheduler, limit: int, output: Output) -> None:
    from proactive_tasks.console.remote import jobs_json, jobs_table

    found = scheduler.jobs(limit)
    answer(output, jobs_json(found), lambda: jobs_table(found))


if __name__ == "__main__":
    main(app, NAME)
