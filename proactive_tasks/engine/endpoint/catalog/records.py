"""What a catalog keeps, as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proactive_tasks.engine.endpoint.catalog.workflow import is_workflow
from proactive_tasks.store.catalog import ObjectRow, RevisionRow


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, with the number of its objects."""

    name: str
    owner: str
    objects: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """An object as one of its revisions has it, without its content."""

    bucket: str
    name: str
    extension: str
    kind: str
    content_type: str
    committed: int
    message: str
    user: str
    project: str
    tags: str
    key_values: list[dict[str, str]]
    variables: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Under which it is downloaded: a workflow has an extension in any case."""
        extension = self.extension or ("xml" if is_workflow(self.kind) else "")
        return f"{self.name}.{extension}" if extension else self.name


@dataclass(frozen=True, slots=True)
class File:
    """A file that shall become an object, or a revision of the object of that name."""

    name: str
    file_name: str
    content: bytes
    message: str
    kind: str | None = None
    content_type: str | None = None
    project: str = ""
    tags: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects are asked for; empty fields ask for all."""

    kind: str = ""  # beginnings, with commas between them
    content_type: str = ""
    name: str = ""  # a part
    tag: str = ""
    project: str = ""

    def __bool__(self) -> bool:
        return self != Filter()

    def fits(self, row: ObjectRow, revision: RevisionRow) -> bool:
        """Whether an object is asked for; case does not matter."""
        kinds = [kind.strip().lower() for kind in self.kind.split(",")]
        return (
            any(row.kind.lower().startswith(kind) for kind in kinds)
            and row.content_type.lower().startswith(self.content_type.lower())
            and self.name.lower() in row.name.lower()
            and self.project.lower() in revision.project.lower()
            and (not self.tag or self.tag.lower() in revision.tags.lower().split(","))
        )


def item_of(row: ObjectRow, revision: RevisionRow) -> Item:
    """The record of an object and one of its revisions."""
    return Item(
        row.bucket,
        row.name,
        row.extension,
        row.kind,
        row.content_type,
        revision.committed,
        revision.message,
        revision.username,
        revision.project,
        revision.tags,
        revision.key_values,
        revision.variables,
    )
