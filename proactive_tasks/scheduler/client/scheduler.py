"""A scheduler by REST: submission, jobs, results, credentials, data spaces; its catalog and resource manager beside.

Routes and answers are those of ProActive 13.0.3; where newer servers differ, both forms are tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from proactive_tasks.overlay.errors import (
    JobDeadlineError,
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)
from proactive_tasks.scheduler.client.catalog import Catalog
from proactive_tasks.scheduler.client.dataspace import DataSpaces
from proactive_tasks.scheduler.client.records import Download, JobInfo, TaskInfo, Validation
from proactive_tasks.scheduler.client.resources import ResourceManager
from proactive_tasks.scheduler.client.rest import NO_SESSION, Rest, segment
from proactive_tasks.scheduler.client.submission import check_variables, check_workflow, filled
from proactive_tasks.scheduler.client.thirdparty import ThirdPartyCredentials

__all__ = ["Download", "JobInfo", "Scheduler", "TaskInfo", "Validation"]

XML = "application/xml"

POLL_S, SLOWEST_POLL_S = 0.2, 2.0
"""How often a job that is waited for is looked at: at first, and when nothing happens for long."""

STILL_S = 30.0
"""So long a task may wait for a node before its job, which is in error, is left to a person; servers look each 10 s."""

ERRING_S = 60.0
"""So long after its last good answer a server that errs is asked again how a job stands: it may be starting."""

Watcher = Callable[[JobInfo, list[TaskInfo]], None]


class Scheduler:
    """One scheduler: its REST below URL/rest, its catalog below URL/catalog.

    A context manager. It logs in at the first call that needs it, renews a session that ended once, when it can, and
    at its end disconnects only a session that it opened.

    Args:
        url: the server, e.g. https://scheduler.example.org:8443.
        user: who logs in.
        password: answers the password; called when there is somebody to log in, and kept nowhere.
        credentials: a file of encrypted credentials (`proactive-create-cred`) in place of user and password.
        session: one that others opened.
        verify: True for the authorities that are trusted anyway, a file of further ones, or False for any certificate.
        catalog_url: the catalog, where it is not below the same URL.
        patience_s: how long a server that does not answer is tried again.

    Raises:
        SchedulerInputError: a URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: Callable[[], str] | None = None,
        credentials: Path | None = None,
        session: str = "",
        verify: bool | str = True,
        catalog_url: str = "",
        patience_s: float | None = None,
    ) -> None:
        self._user, self._password, self._credentials = user, password, credentials
        able = credentials is not None or (user and password is not None)
        self._rest = Rest(
            url,
            login=self._login if able else None,
            session=session,
            verify=verify,
            patience_s=patience_s,
        )
        self._beside = self._rest
        self.catalog = self._catalog(catalog_url, verify, patience_s)
        self.resources = ResourceManager(self._rest)
        self._spaces = DataSpaces(self._rest)
        self._third_party = ThirdPartyCredentials(self._rest)

    def _catalog(self, url: str, verify: bool | str, patience_s: float | None) -> Catalog:
        if not url:
            return Catalog(self._rest)
        path = urlsplit(url).path.rstrip("/")
        server = url.rstrip("/").removesuffix(path) if path else url.rstrip("/")
        if server == self._rest.url:
            return Catalog(self._rest, path)
        self._beside = Rest(
            server,
            login=lambda _, ended: self._rest.session_after(ended) if ended else self._rest.session,
            borrowed=True,
            verify=verify,
            patience_s=patience_s,
        )
        return Catalog(self._beside, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the session, if it was opened here."""
        self._beside.close()
        self._rest.close()

    @property
    def url(self) -> str:
        """The server."""
        return self._rest.url

    def connect(self) -> str:
        """Log in now, if that was not done; answers the session's identifier.

        Raises:
            SchedulerInputError: wrong user or password.
        """
        return self._rest.session

    def version(self) -> dict[str, str]:
        """The versions of `scheduler` and `rest`; needs no session."""
        return self._rest.version()

    # Submission

    def submit(self, source: bytes, variables: Mapping[str, str] = {}, generic: Mapping[str, str] = {}) -> int:
        """Submit a workflow's XML; answers the job's number.

        Raises:
            SchedulerInputError: the scheduler refuses it, or it is larger than can be submitted.
        """
        check_workflow(source)
        check_variables(variables)
        files = [
            ("file", ("workflow.xml", source, XML)),
            ("variables", (None, json.dumps(dict(variables)), "application/json")),
        ]
        return self._rest.read(_id, "POST", "/rest/scheduler/submit", params=dict(generic), files=files)

    def submit_from_catalog(
        self, bucket: str, name: str, variables: Mapping[str, str] = {}, generic: Mapping[str, str] = {}
    ) -> int:
        """Submit a workflow of the catalog, which the scheduler fetches itself; answers the job's number.

        Raises:
            SchedulerInputError: there is none, or it is refused.
        """
        check_variables(variables)
        return self._rest.read(
            _id,
            "POST",
            "/rest/scheduler/jobs/body",
            headers={"link": self.catalog.link(bucket, name)},
            params=dict(generic),
            body=dict(variables),
        )

    def validate(self, source: bytes, variables: Mapping[str, str] = {}) -> Validation:
        """Ask what the scheduler thinks of a workflow's XML, without submitting it."""
        check_workflow(source)
        check_variables(variables)
        path, text = filled(source, variables)
        files = [("file", ("workflow.xml", text, XML))]
        route = f"/rest/scheduler/validate{path}"
        return self._rest.read(Validation.of, "POST", route, files=files, repeatable=True)

    # Jobs

    def job(self, job: int) -> JobInfo:
        """A job as it stands.

        Raises:
            SchedulerInputError: it is unknown, or another user's.
        """
        return self._rest.read(JobInfo.of, "GET", f"{_job(job)}/info")

    def jobs(self, limit: int = 20) -> list[JobInfo]:
        """The last jobs: first those that are not over, then by number from the newest."""
        params = {"index": "0", "limit": str(limit)}
        return self._rest.read(_jobs, "GET", "/rest/scheduler/jobsinfo", params=params)[:limit]

    def tasks(self, job: int) -> list[TaskInfo]:
        """The tasks of a job, replicas and iterations among them, in the order in which they were made."""
        total, listed = self._rest.read(_page, "GET", f"{_job(job)}/taskstates")
        while len(listed) < total:  # a server shows a page at a time
            params = {"offset": str(len(listed)), "limit": "100"}
            _, page = self._rest.read(_page, "GET", f"{_job(job)}/taskstates/paginated", params=params)
            if not page:
                break
            listed += page
        return sorted(listed, key=lambda task: task.id)

    def wait(self, job: int, *, deadline_s: float, on_change: Watcher | None = None) -> JobInfo:
        """Wait until a job is over; or stuck, when its other tasks have done what they can.

        Args:
            job: its number.
            deadline_s: how long.
            on_change: told of job and tasks whenever something changed.

        Raises:
            JobDeadlineError: it is neither within the deadline; it goes on.
        """
        changed, heard = time.monotonic(), float("-inf")
        end, pause, known = changed + deadline_s, POLL_S, None
        while True:
            with self._while_restarting(end, heard + ERRING_S):
                info = self.job(job)
                tasks = self.tasks(job) if on_change or info.stuck else []
                if (info, tasks) != known:
                    known, pause, changed = (info, tasks), POLL_S, time.monotonic()
                    if on_change:
                        on_change(info, tasks)
                heard = time.monotonic()
                if info.over or (info.stuck and _rests(tasks, heard - changed)):
                    return info
            left = end - time.monotonic()
            if left <= 0:
                raise JobDeadlineError(f"job {job}: not over after {deadline_s:g} s; it goes on")
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, SLOWEST_POLL_S)

    @contextmanager
    def _while_restarting(self, end: float, patience: float) -> Iterator[None]:
        """A server may restart while its jobs go on; only the deadline ends waiting for its answer."""
        try:
            yield
        except SchedulerUnreachableError:
            if time.monotonic() >= end:
                raise
        except SchedulerError as error:
            if type(error) is not SchedulerError or time.monotonic() >= min(end, patience):
                raise

    def kill(self, job: int) -> bool:
        """Kill a job; False if it was over."""
        return self._put(job, "kill")

    def pause(self, job: int) -> bool:
        """Start no further task of a job; False if it did not change anything."""
        return self._put(job, "pause")

    def resume(self, job: int) -> bool:
        """Go on with a paused job."""
        return self._put(job, "resume")

    def restart_in_error(self, job: int, task: str = "") -> bool:
        """Run the tasks of a job again that are in error, or one of them."""
        return self._put(job, f"tasks/{segment(task)}/restartInErrorTask" if task else "restartAllInErrorTasks")

    def remove(self, job: int) -> bool:
        """Remove a job with its results and logs."""
        return self._rest.json("DELETE", _job(job)) is True

    def _put(self, job: int, what: str) -> bool:
        return self._rest.json("PUT", f"{_job(job)}/{what}") is True

    def signal(self, job: int, name: str, variables: Mapping[str, str] | None = None) -> list[str]:
        """Send a signal to a job; answers the signals it now has.

        Raises:
            SchedulerInputError: it is not ready for that signal, or a value is refused.
        """
        path, params = f"/rest/scheduler/job/{int(job)}/signals", {"signal": name}
        if variables is None:
            headers = {"Content-Type": "application/octet-stream"}
            return self._rest.read(_list, "POST", path, params=params, headers=headers, content=b"")
        return self._rest.read(_list, "POST", path, params=params, body=dict(variables))

    # Results and logs

    def value(self, job: int, task: str) -> str | None:
        """A task's result as text: of a failed one what failed, None while there is none or where it is null."""
        answer = self._rest.call("GET", f"{_task(job, task)}/result/value")
        return answer.content.decode(errors="replace") if answer.content else None

    def values(self, job: int) -> dict[str, str]:
        """The results of all tasks that have one, by their names, as text; none before the job is over."""
        return self._rest.read(_texts, "GET", f"{_job(job)}/result/value")

    def download(self, job: int, task: str) -> Download:
        """A task's result as the document that it is."""
        answer = self._rest.call("GET", f"{_task(job, task)}/result/download")
        kind = answer.headers.get("content-type", "application/octet-stream")
        return Download(answer.content, kind, self.metadata(job, task).get("file.name", ""))

    def metadata(self, job: int, task: str) -> dict[str, str]:
        """What a task said of its result, e.g. `file.name` and `content.type`."""
        return self._rest.read(_texts, "GET", f"{_task(job, task)}/result/metadata")

    def result_map(self, job: int) -> dict[str, str]:
        """The result map of a job, all values as text."""
        return self._rest.read(_texts, "GET", f"{_job(job)}/resultmap")

    def precious(self, job: int) -> list[str]:
        """The tasks whose results are to be kept."""
        return self._rest.read(_list, "GET", f"{_job(job)}/tasks/results/precious/metadata")

    def log(self, job: int, task: str | None = None) -> str:
        """What the tasks of a job printed, or one of them, as far as they ended.

        Of a job as a whole a server says nothing before it is over, and then without order: each task is asked for.
        """
        if task is not None:
            return self._rest.text("GET", f"{_task(job, task)}/result/log/all")
        logs = (self.log(job, each.name) for each in self.tasks(job) if each.started)
        return "".join(log for log in logs if log.strip())

    def live_log(self, job: int) -> str:
        """What the running tasks of a job printed since the last call; the first call begins it."""
        return self._rest.text("GET", f"{_job(job)}/livelog", repeatable=False)

    # Third-party credentials

    def credentials(self) -> list[str]:
        """The keys that are set; the values are never told."""
        return self._third_party.keys()

    def put_credential(self, key: str, value: str) -> None:
        """Set a credential that the user's tasks find by its key."""
        self._third_party.put(key, value)

    def remove_credential(self, key: str) -> None:
        """Remove a credential; no error where there is none."""
        self._third_party.remove(key)

    # Data spaces

    def upload(self, space: str, path: str, content: bytes) -> None:
        """Put a file into the `user` or the `global` space."""
        self._spaces.upload(space, path, content)

    def download_file(self, space: str, path: str) -> bytes:
        """Fetch a file of a space."""
        return self._spaces.download(space, path)

    def list_files(self, space: str, path: str = "") -> list[str]:
        """The files and folders of a folder of a space."""
        return self._spaces.list(space, path)

    def remove_file(self, space: str, path: str) -> None:
        """Remove a file of a space."""
        self._spaces.remove(space, path)

    # Session

    def _login(self, rest: Rest, _ended: str) -> str:
        if self._credentials is not None:
            files = [("credential", ("credentials", _content(self._credentials), "application/octet-stream"))]
            sent: dict[str, Any] = {"files": files}
            who, check = f"credentials file {self._credentials}", "that this server made it"
        else:
            password = self._password() if self._password else ""
            who, check = f"user {self._user}", "the user's name and the password"
            sent = {"form": {"username": self._user, "password": password}}
        try:
            return rest.text("POST", "/rest/scheduler/login", anonymous=True, repeatable=True, **sent).strip()
        except SchedulerError as error:
            # A password is not what a server's own error is about; a file that it cannot read may well be.
            beyond = self._credentials is None and not isinstance(error, SchedulerInputError)
            if beyond or not error.status or isinstance(error, SchedulerUnreachableError | SchedulerVersionError):
                raise  # it never came to a log-in
            raise SchedulerInputError(
                f"{rest.url}: {who} cannot log in: {error.said or error}; check {check}", NO_SESSION, error.said
            ) from error


def _rests(tasks: Iterable[TaskInfo], still_s: float) -> bool:
    """Whether no task goes on, though others are in error; the numbers in a job's information do not tell."""
    if any(task.running for task in tasks):
        return False
    return still_s >= STILL_S or not any(task.status == "PENDING" for task in tasks)


def _job(job: int) -> str:
    return f"/rest/scheduler/jobs/{int(job)}"


def _task(job: int, task: str) -> str:
    return f"{_job(job)}/tasks/{segment(task)}"


def _id(values: Any) -> int:
    return int(values["id"])


def _jobs(values: Any) -> list[JobInfo]:
    return [JobInfo.of(each["jobInfo"]) for each in values["list"]]


def _page(values: Any) -> tuple[int, list[TaskInfo]]:
    """How many tasks there are, and those told of."""
    return int(values["size"]), [TaskInfo.of(each) for each in values["list"]]


def _list(values: Any) -> list[str]:
    return [str(each) for each in values or ()]


def _texts(values: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (values or {}).items() if value is not None}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SchedulerInputError(
            f"credentials file {path}: {error.strerror}; check its name and permissions"
        ) from None
