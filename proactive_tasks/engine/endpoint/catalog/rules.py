"""What a catalog accepts: names, kinds, content types, tags, owners; the words in which it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proactive_tasks.overlay.errors import OverlayError

PUBLIC = "GROUP:public-objects"
GROUPS = ("scheduleradmins", "rmcoreadmins")
"""Whoever may use an endpoint is its administrator."""

LENGTH = 255
"""Of names, kinds, content types and commit messages."""

BUCKET = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")
OBJECT = re.compile(r"[^\s/,]+(\s+[^\s/,]+)*")
WORD = re.compile(r"[A-Za-z0-9][\w. ;=+\-]*[A-Za-z0-9]", re.ASCII)
TAG = re.compile(r"[A-Za-z][\s\w\-./]+", re.ASCII)


class CatalogError(OverlayError):
    """A request that the catalog refuses, with the status of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. `session` is named in one of the refusals."""

    name: str
    groups: tuple[str, ...] = ()
    session: str = ""

    def may_use(self, owner: str) -> bool:
        """Whether buckets of this owner are open to the user: there are no grants here."""
        return owner == PUBLIC or (owner.removeprefix("GROUP:") in self.groups and owner.startswith("GROUP:"))


def check_owner(user: User, owner: str) -> None:
    """A bucket's owner is a group of the user's, or everyone.

    A catalog also takes the user's login, and makes a bucket that nobody can use: refused here.
    """
    if not user.may_use(owner):
        raise CatalogError(
            403, f"SessionId: {user.session} is not allowed to access buckets with owner or group {owner}"
        )


def check_bucket_name(name: str) -> None:
    """3 to 63 lower-case letters, digits and dashes."""
    if not BUCKET.fullmatch(name):
        raise CatalogError(
            400, f"The bucket name: '{name}' is not valid, please check the specification of bucket naming"
        )


def check_object_name(name: str) -> None:
    """Anything but slashes and commas, without blanks at its ends."""
    if not OBJECT.fullmatch(name):
        raise CatalogError(
            400,
            f"The object name: '{name}' is not valid. \n The object name should not be empty, should start and finish "
            "with non-whitespace character and can contain all characters except forward slash and comma.",
        )
    _check_length("object name", name)


def check_kind(kind: str) -> None:
    """Words of two characters or more, with slashes between them."""
    if not _is_path(kind):
        raise CatalogError(
            400, f"The kind name: '{kind}' is not valid, please check the specification of the kind parameter naming"
        )


def check_content_type(content_type: str) -> None:
    """The same form as a kind's."""
    if not _is_path(content_type):
        raise CatalogError(
            400,
            f"The Content-Type name: '{content_type}' is not valid, please check the specification of the "
            "Content-Type parameter naming",
        )


def check_tags(tags: str) -> None:
    """Words of two characters or more, with commas between them; none is well too."""
    parts = tags.split(",")
    if tags and not (parts[0] and parts[-1] and all(TAG.fullmatch(part) for part in parts if part)):
        raise CatalogError(
            400, f"The tags name: '{tags}' is not valid, please check the specification of the tags parameter naming"
        )


def check_message(message: str) -> None:
    """A commit message may be empty, and has a longest length."""
    _check_length("commit message", message)


def _check_length(what: str, text: str) -> None:
    if len(text) > LENGTH:
        raise CatalogError(400, f"The {what}: '{text[:40]}...' is longer than {LENGTH} characters")


def _is_path(text: str) -> bool:
    parts = text.removesuffix("/").split("/")
    return len(text) <= LENGTH and all(WORD.fullmatch(part) for part in parts)


def no_bucket(name: str) -> CatalogError:
    """The bucket is not there."""
    return CatalogError(404, f"Cannot find bucket with bucketName : {name}")


def no_object(bucket: str, name: str) -> CatalogError:
    """The object is not there, or its bucket."""
    return CatalogError(404, f"Catalog Object is not found in bucket with name: '{bucket}' for object name: '{name}'")


def no_revision(bucket: str, name: str, committed: int) -> CatalogError:
    """The object is there, the revision is not."""
    return CatalogError(
        404, f"Revision was not found for bucketName: {bucket} object name: {name} revision: {committed}"
    )


def missing(parameter: str) -> CatalogError:
    """A parameter that must be there."""
    return CatalogError(400, f"Bad Request, missing parameter: Required String parameter '{parameter}' is not present")
