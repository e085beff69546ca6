"""A catalog's buckets, objects and revisions by REST.

What a catalog stores is not what was sent: it serialises a workflow anew, under the object's name. And every revision
posted is one more, of the same content, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proactive_tasks.overlay.errors import SchedulerError, SchedulerInputError
from proactive_tasks.scheduler.client.rest import Rest, segment


@dataclass(frozen=True)
class Bucket:
    """A bucket: `owner` is a group, `rights` are those of the one who asks, where they are told."""

    name: str
    owner: str
    objects: int
    rights: str = ""


@dataclass(frozen=True)
class CatalogObject:
    """One revision of an object; `revision` is its time in ms, which names it."""

    name: str
    bucket: str
    kind: str
    content_type: str
    message: str
    revision: int
    project: str = ""
    tags: str = ""
    extension: str = ""
    user: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The catalog's answer as it is."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CatalogObject:
        """Out of a catalog's answer."""
        return cls(
            name=str(values["name"]),
            bucket=str(values.get("bucket_name") or ""),
            kind=str(values.get("kind") or ""),
            content_type=str(values.get("content_type") or ""),
            message=str(values.get("commit_message") or ""),
            revision=int(values.get("commit_time_raw") or 0),
            project=str(values.get("project_name") or ""),
            tags=str(values.get("tags") or ""),
            extension=str(values.get("extension") or ""),
            user=str(values.get("username") or ""),
            values=values,
        )


class Catalog:
    """The catalog beside a scheduler; it takes the scheduler's session. `base` is its path on the server."""

    def __init__(self, rest: Rest, base: str = "/catalog") -> None:
        self._rest, self._base = rest, base

    @property
    def url(self) -> str:
        """Where it is, for links to it."""
        return f"{self._rest.url}{self._base}"

    def link(self, bucket: str, name: str) -> str:
        """The URL of an object's content."""
        return f"{self._rest.url}{self._object(bucket, name)}/raw"

    def buckets(self) -> list[Bucket]:
        """The buckets that the user may see."""
        return self._rest.read(lambda found: [_bucket(each) for each in found], "GET", f"{self._base}/buckets")

    def create_bucket(self, name: str, owner: str = "") -> Bucket:
        """Make a bucket, by itself for everyone (`GROUP:public-objects`).

        Raises:
            SchedulerInputError: the name is no bucket's, there is one (status 409), or the owner is not allowed (403).
        """
        params = {"name": name, **({"owner": owner} if owner else {})}
        return self._rest.read(_bucket, "POST", f"{self._base}/buckets", params=params)

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket."""
        self._rest.call("DELETE", self._bucket(name))

    def objects(self, bucket: str, kind: str = "") -> list[CatalogObject]:
        """The last revisions of all objects; `kind` is a prefix, or several apart by commas."""
        params = {"kind": kind} if kind else None
        return self._rest.read(_objects, "GET", f"{self._bucket(bucket)}/resources", params=params)

    def object(self, bucket: str, name: str) -> CatalogObject:
        """The last revision of an object.

        Raises:
            SchedulerInputError: there is none (status 404).
        """
        return self._rest.read(CatalogObject.of, "GET", self._object(bucket, name))

    def raw(self, bucket: str, name: str, revision: int = 0) -> bytes:
        """The content of an object's last revision, or of the one named."""
        part = f"/revisions/{revision}" if revision else ""
        return self._rest.call("GET", f"{self._object(bucket, name)}{part}/raw").content

    def revisions(self, bucket: str, name: str) -> list[CatalogObject]:
        """All revisions, the newest first."""
        return self._rest.read(_objects, "GET", f"{self._object(bucket, name)}/revisions")

    def add(
        self,
        bucket: str,
        name: str,
        kind: str,
        content: bytes,
        content_type: str,
        message: str,
        project: str = "",
        tags: str = "",
        file_name: str = "",
    ) -> CatalogObject:
        """Add an object; the extension of `file_name` decides under which name it is downloaded.

        Raises:
            SchedulerInputError: there is one (status 409), the catalog cannot parse it (422), or a name is none (400).
        """
        params = {"name": name, "kind": kind, "commitMessage": message, "objectContentType": content_type}
        return self._rest.read(
            _only,
            "POST",
            f"{self._bucket(bucket)}/resources",
            params=params | _if_any(projectName=project, tags=tags),
            files=[("file", (file_name or _file_name(name, content_type), content, content_type))],
        )

    def revise(
        self,
        bucket: str,
        name: str,
        content: bytes,
        content_type: str,
        message: str,
        project: str = "",
        tags: str = "",
        file_name: str = "",
    ) -> CatalogObject:
        """Add a revision to an object; its kind, content type and extension stay."""
        params = {"commitMessage": message}
        return self._rest.read(
            CatalogObject.of,
            "POST",
            f"{self._object(bucket, name)}/revisions",
            params=params | _if_any(projectName=project, tags=tags),
            files=[("file", (file_name or _file_name(name, content_type), content, content_type))],
        )

    def remove(self, bucket: str, name: str) -> None:
        """Remove an object with all its revisions."""
        self._rest.call("DELETE", self._object(bucket, name))

    def import_archive(self, bucket: str, archive: bytes) -> list[CatalogObject]:
        """Import a package's archive in one transaction.

        Raises:
            SchedulerVersionError: the catalog cannot, as that of 13.0.
            SchedulerError: it did not like the archive; it tells no reason.
        """
        path = f"{self._bucket(bucket)}/resources/import"
        try:
            files = [("file", ("package.zip", archive, "application/zip"))]
            return self._rest.read(lambda answer: _objects(answer["object"]), "POST", path, files=files)
        except SchedulerError as error:
            raise self._explained(error) from error

    def export(self, bucket: str, names: Sequence[str] = ()) -> bytes:
        """Objects of a bucket, all or those named, as an archive that `import_archive` takes."""
        return self._rest.call("POST", f"{self._bucket(bucket)}/resources/export", body=list(names)).content

    def _bucket(self, name: str) -> str:
        return f"{self._base}/buckets/{_segment(name)}"

    def _object(self, bucket: str, name: str) -> str:
        return f"{self._bucket(bucket)}/resources/{_segment(name)}"

    @staticmethod
    def _explained(error: SchedulerError) -> SchedulerError:
        if type(error) is SchedulerError:
            return SchedulerError(
                f"{error}; catalogs import archives from 13.1 on, and only with METADATA.json at the root and no key "
                "in it that they do not know: add the objects one by one",
                error.status,
            )
        return error


def _segment(name: str) -> str:
    if name in {"", ".", ".."}:
        raise SchedulerInputError(f"name {name!r}: no URL can hold it; give the bucket or object another")
    return segment(name)


def _bucket(values: Mapping[str, Any]) -> Bucket:
    return Bucket(
        name=str(values["name"]),
        owner=str(values.get("owner") or ""),
        objects=int(values.get("objectCount") or 0),
        rights=str(values.get("rights") or ""),
    )


def _objects(found: Sequence[Mapping[str, Any]]) -> list[CatalogObject]:
    return [CatalogObject.of(each) for each in found]


def _only(answer: Mapping[str, Any]) -> CatalogObject:
    (made,) = answer["object"]
    return CatalogObject.of(made)


def _if_any(**values: str) -> dict[str, str]:
    """What is not said is left to the catalog: the project is then the one that the workflow names."""
    return {name: value for name, value in values.items() if value}


def _file_name(name: str, content_type: str) -> str:
    """A file name whose extension says what the content is."""
    extension = {"application/xml": "xml", "text/x-python": "py", "text/html": "html", "text/x-groovy": "groovy"}
    return f"{name}.{extension[content_type]}" if content_type in extension else name
