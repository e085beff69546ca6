"""The catalog: buckets of objects, each with its revisions, as a ProActive catalog 13.0.3 keeps them.

It knows no HTTP: users come in as `User`, refusals leave as `CatalogError` with the status that a catalog answers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, undefer

from proactive_tasks.engine.endpoint.catalog import rules
from proactive_tasks.engine.endpoint.catalog.hidden import reveal, seal
from proactive_tasks.engine.endpoint.catalog.records import Bucket, File, Filter, Item, item_of
from proactive_tasks.engine.endpoint.catalog.rules import PUBLIC, CatalogError, User
from proactive_tasks.engine.endpoint.catalog.workflow import (
    Parsed,
    dependencies,
    is_workflow,
    object_fault,
    object_rules,
    parse,
)
from proactive_tasks.overlay.errors import UnknownObjectError
from proactive_tasks.store.catalog import BucketRow, ObjectRow, RevisionRow

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database

LOCK = "catalog"


class Catalog:
    """The catalog in a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # buckets

    def create_bucket(self, user: User, name: str, owner: str = "") -> Bucket:
        """A new bucket, of everyone unless told otherwise."""
        owner = owner or PUBLIC
        rules.check_owner(user, owner)
        rules.check_bucket_name(name)
        with self._database.write(LOCK) as session:
            if session.get(BucketRow, name) is not None:
                raise CatalogError(409, f"The bucket named {name} owned by {owner} already exists")
            session.add(BucketRow(name=name, owner=owner))
        return Bucket(name, owner)

    def buckets(self, user: User, owner: str = "", name: str = "", wanted: Filter = Filter()) -> list[Bucket]:  # noqa: B008 - frozen
        """The user's buckets; with a filter only those that hold such objects, counting these."""
        if owner:
            rules.check_owner(user, owner)
        counts: dict[str, int] = {}
        with self._database.read() as session:
            rows = list(session.scalars(select(BucketRow).order_by(BucketRow.name)))
            for row, revision in _latest(session):
                if wanted.fits(row, revision):
                    counts[row.bucket] = counts.get(row.bucket, 0) + 1
        return [
            Bucket(row.name, row.owner, counts.get(row.name, 0))
            for row in rows
            if user.may_use(row.owner)
            and owner in ("", row.owner)
            and name.lower() in row.name
            and (row.name in counts or not wanted)
        ]

    def bucket(self, user: User, name: str) -> Bucket:
        """One bucket."""
        with self._database.read() as session:
            row = _bucket(session, user, name)
            return Bucket(row.name, row.owner, _size(session, name))

    def give_bucket(self, user: User, name: str, owner: str) -> Bucket:
        """Change a bucket's owner; the new one is not checked."""
        with self._database.write(LOCK) as session:
            row = _bucket(session, user, name)
            row.owner = owner
            return Bucket(name, owner, _size(session, name))

    def remove_bucket(self, user: User, name: str) -> Bucket:
        """Remove an empty bucket."""
        with self._database.write(LOCK) as session:
            row = _bucket(session, user, name)
            if _size(session, name):
                raise CatalogError(403, f"Forbidden to delete the non empty bucket: {name}")
            session.delete(row)
            return Bucket(name, row.owner)

    def remove_empty_buckets(self, user: User) -> None:
        """Remove the user's empty buckets."""
        with self._database.write(LOCK) as session:
            filled = select(ObjectRow.bucket)
            for row in session.scalars(select(BucketRow).where(BucketRow.name.not_in(filled))):
                if user.may_use(row.owner):
                    session.delete(row)

    # objects

    def add(self, user: User, bucket: str, file: File) -> Item:
        """A new object."""
        with self._database.write(LOCK) as session:
            row = _bucket(session, user, bucket)
            rules.check_object_name(file.name)
            if _find(session, bucket, file.name) is not None:
                raise CatalogError(409, f"Catalog Object with name '{file.name}' already exists in bucket: '{bucket}'")
            return self._store(session, user, row, file)

    def revise(self, user: User, bucket: str, file: File) -> Item:
        """A new revision of an object, even if it equals the last."""
        with self._database.write(LOCK) as session:
            found = self._object(session, user, bucket, file.name)
            return self._store(session, user, _bucket(session, user, bucket), file, found)

    def bring(self, user: User, bucket: str, files: Sequence[File]) -> list[Item]:
        """Objects or revisions, all of them or none."""
        with self._database.write(LOCK) as session:
            row = _bucket(session, user, bucket)
            items = []
            for file in files:
                rules.check_object_name(file.name)
                items.append(self._store(session, user, row, file, _find(session, bucket, file.name)))
            return items

    def objects(self, user: User, bucket: str, wanted: Filter = Filter()) -> list[Item]:  # noqa: B008 - frozen
        """The objects of a bucket, as their last revisions have them, by name."""
        with self._database.read() as session:
            _bucket(session, user, bucket)
            return [item_of(row, last) for row, last in _latest(session, bucket) if wanted.fits(row, last)]

    def object(self, user: User, bucket: str, name: str, committed: int | None = None) -> Item:
        """An object, as its last revision has it, or the one of that moment."""
        with self._database.read() as session:
            row = self._object(session, user, bucket, name)
            return item_of(row, _revision(session, row, committed))

    def content(self, user: User, bucket: str, name: str, committed: int | None = None) -> tuple[Item, bytes]:
        """An object with its content, in which hidden values are sealed."""
        with self._database.read() as session:
            row = self._object(session, user, bucket, name)
            revision = _revision(session, row, committed, with_content=True)
            return item_of(row, revision), revision.content

    def raw(self, bucket: str, name: str, revision: str | None = None) -> bytes:
        """An object's content as it is submitted by link: hidden values are clear.

        Raises:
            UnknownObjectError: there is no such object or revision, or it is not open to this endpoint's users.
        """
        if revision is not None and not re.fullmatch(r"[0-9]{1,18}", revision):
            raise UnknownObjectError(f"{bucket}/{name}: {revision} is no revision; take one that the catalog lists")
        user = User("", rules.GROUPS)
        try:
            item, content = self.content(user, bucket, name, None if revision is None else int(revision))
        except CatalogError as error:
            raise UnknownObjectError(str(error)) from error
        return reveal(content) if is_workflow(item.kind) else content

    def revisions(self, user: User, bucket: str, name: str) -> list[Item]:
        """All revisions of an object, the newest first."""
        with self._database.read() as session:
            row = self._object(session, user, bucket, name)
            query = select(RevisionRow).where(RevisionRow.object_id == row.id).order_by(RevisionRow.committed.desc())
            return [item_of(row, revision) for revision in session.scalars(query)]

    def restore(self, user: User, bucket: str, name: str, committed: int) -> Item:
        """A new revision that equals an earlier one."""
        with self._database.write(LOCK) as session:
            row = self._object(session, user, bucket, name)
            old = _revision(session, row, committed, with_content=True)
            when = datetime.fromtimestamp(committed / 1000, UTC)
            message = f"Reverted from {when:%a %b %d %H:%M:%S} UTC {when.year} : {old.message}"[: rules.LENGTH]
            parsed = Parsed(old.content, old.project, old.key_values, old.variables)
            return _commit(session, user, row, parsed, message, old.tags)

    def describe(
        self, user: User, bucket: str, name: str, kind: str | None, content_type: str | None, project: str | None
    ) -> Item:
        """Change what is told of an object, without a new revision. A project that is not named is taken away."""
        if kind is None and content_type is None and project is None:
            raise CatalogError(400, "Wrong parameters: at least one parameter should be present")
        with self._database.write(LOCK) as session:
            row = self._object(session, user, bucket, name)
            revision = _revision(session, row, None, with_content=True)
            if kind is not None:
                rules.check_kind(kind)
                row.kind = kind
                parsed = self._parse(session.get_one(BucketRow, bucket), name, kind, revision.content, project or "")
                revision.content, revision.key_values = parsed.content, parsed.key_values
                revision.variables = parsed.variables
            if content_type is not None:
                rules.check_content_type(content_type)
                row.content_type = content_type
            revision.project = project or ""
            return item_of(row, revision)

    def remove(self, user: User, bucket: str, name: str) -> Item:
        """Remove an object with all its revisions."""
        with self._database.write(LOCK) as session:
            row = self._object(session, user, bucket, name)
            item = item_of(row, _revision(session, row, None))
            session.execute(delete(RevisionRow).where(RevisionRow.object_id == row.id))
            session.execute(delete(ObjectRow).where(ObjectRow.id == row.id))
            return item

    # what objects have to do with one another

    def kinds(self) -> list[str]:
        """All kinds, and what stands before their slashes."""
        with self._database.read() as session:
            kinds = set(session.scalars(select(ObjectRow.kind).distinct()))
        return sorted(kinds | {kind.partition("/")[0] for kind in kinds})

    def content_types(self) -> list[str]:
        """All content types."""
        with self._database.read() as session:
            return sorted(session.scalars(select(ObjectRow.content_type).distinct()))

    def dependencies(self, user: User, bucket: str, name: str) -> tuple[list[tuple[str, str, str | None]], list[str]]:
        """What an object needs, with revision and kind (None: it is not there), and by which objects it is needed."""
        with self._database.read() as session:
            item = self._object(session, user, bucket, name)
            everything = {f"{row.bucket}/{row.name}": (row, revision) for row, revision in _latest(session)}
            mine = everything[f"{bucket}/{item.name}"][1]
            needs = [
                (needed, revision, everything[needed][0].kind if needed in everything else None)
                for needed, revision in dependencies(mine.key_values)
            ]
            callers = [
                caller
                for caller, (_, revision) in everything.items()
                if any(needed == f"{bucket}/{name}" for needed, _ in dependencies(revision.key_values))
            ]
            return needs, sorted(callers)

    def object_fault(self, model: str, value: str) -> str | None:
        """Why a value does not fit a model PA:CATALOG_OBJECT, in the scheduler's words; None if it does."""
        fault = object_fault(model, value)
        if fault or not value.strip():
            return fault
        bucket, name, *revision = value.split("/")
        if revision and not revision[0].isdecimal():  # the form admits any character at its first place
            return f"Catalog object [{value}] does not exist."
        try:
            item = self.object(User("", rules.GROUPS), bucket, name, int(revision[0]) if revision else None)
        except CatalogError as error:
            if error.status == 403:
                return f"Access to catalog object [{value}] is not authorized."
            return f"Catalog object [{value}] does not exist."
        kind, content_type = object_rules(model)
        if not item.kind.lower().startswith(kind.lower()):
            return f"Catalog object [{value}] does not match the expected kind [{kind}]."
        if not item.content_type.lower().startswith(content_type.lower()):
            return f"Catalog object [{value}] does not match the expected content type [{content_type}]."
        return None

    # inside a transaction

    def _object(self, session: Session, user: User, bucket: str, name: str) -> ObjectRow:
        row = _find(session, bucket, name)
        if row is None:
            raise rules.no_object(bucket, name)
        if not user.may_use(session.get_one(BucketRow, bucket).owner):
            raise CatalogError(
                403,
                f"You do not have enough permissions over the catalog object: {name} in the bucket: {bucket}",
            )
        return row

    def _store(self, session: Session, user: User, bucket: BucketRow, file: File, row: ObjectRow | None = None) -> Item:
        rules.check_message(file.message)
        rules.check_tags(file.tags)
        if row is None:
            if file.kind is None:
                raise rules.missing("kind")
            if file.content_type is None:
                raise rules.missing("objectContentType")
            rules.check_kind(file.kind)
            rules.check_content_type(file.content_type)
            row = ObjectRow(
                bucket=bucket.name,
                name=file.name,
                kind=file.kind,
                content_type=file.content_type,
                extension=Path(file.file_name).suffix.removeprefix(".")[: rules.LENGTH],
                latest=0,
            )
        parsed = self._parse(bucket, file.name, row.kind, file.content, file.project)
        session.add(row)
        session.flush()
        return _commit(session, user, row, parsed, file.message, file.tags)

    def _parse(self, bucket: BucketRow, name: str, kind: str, content: bytes, project: str) -> Parsed:
        group = bucket.owner.removeprefix("GROUP:")
        return parse(content, kind, name, bucket.name, group, project, seal)


def _bucket(session: Session, user: User, name: str) -> BucketRow:
    row = session.get(BucketRow, name)
    if row is None:
        raise rules.no_bucket(name)
    if not user.may_use(row.owner):
        raise CatalogError(403, f"You do not have enough permissions over the bucket: {name}")
    return row


def _find(session: Session, bucket: str, name: str) -> ObjectRow | None:
    return session.scalar(select(ObjectRow).where(ObjectRow.bucket == bucket, ObjectRow.name == name))


def _latest(session: Session, bucket: str | None = None) -> Iterator[tuple[ObjectRow, RevisionRow]]:
    query = (
        select(ObjectRow, RevisionRow)
        .join(RevisionRow, (RevisionRow.object_id == ObjectRow.id) & (RevisionRow.committed == ObjectRow.latest))
        .order_by(ObjectRow.bucket, ObjectRow.name)
    )
    if bucket is not None:
        query = query.where(ObjectRow.bucket == bucket)
    return ((row, revision) for row, revision in session.execute(query))


def _size(session: Session, bucket: str) -> int:
    return session.scalar(select(func.count()).select_from(ObjectRow).where(ObjectRow.bucket == bucket)) or 0


def _revision(session: Session, row: ObjectRow, committed: int | None, *, with_content: bool = False) -> RevisionRow:
    key = (row.id, row.latest if committed is None else committed)
    revision = session.get(RevisionRow, key, options=[undefer(RevisionRow.content)] if with_content else [])
    if revision is None:
        raise rules.no_revision(row.bucket, row.name, key[1])
    return revision


def _commit(session: Session, user: User, row: ObjectRow, parsed: Parsed, message: str, tags: str) -> Item:
    row.latest = max(time.time_ns() // 1_000_000, row.latest + 1)
    revision = RevisionRow(
        object_id=row.id,
        committed=row.latest,
        message=message,
        username=user.name,
        project=parsed.project,
        tags=tags,
        key_values=parsed.key_values,
        variables=parsed.variables,
        content=parsed.content,
    )
    session.add(revision)
    session.flush()
    return item_of(row, revision)
