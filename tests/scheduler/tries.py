"""Tasks for the tests of the binding: they do nothing but tell what they were given, or fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Literal

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.context import Context


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def take(
    context: Context,
    *,
    overlay: str = "",
    hosts: int = 1,
    share: float = 0.5,
    dry_run: bool = False,
    sites: list[str] | None = None,
    options: dict[str, Any] | None = None,
    colour: Colour | None = None,
    measure: Literal["new", "all"] = "new",
    text: str = "",
) -> Result:
    given = dict(locals())
    del given["context"]
    return Result("take", facts={name: [type(value).__name__, value] for name, value in given.items()})


def need(context: Context, *, site: str) -> Result:
    return Result("need", facts={"site": site})


def key(context: Context) -> Result:
    return Result("key", facts={"passphrase": context.passphrase(), "environment": os.environ.get("NOTHING", "")})


def odd(context: Context) -> Result:
    """A result full of what Java has no counterpart for."""
    facts: dict[Any, Any] = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "address": IPv4Address("10.0.0.1"),
        IPv4Address("10.0.0.2"): {"set": {"b", "a"}, "tuple": (1, 2)},
        "nan": float("nan"),
        "infinite": float("inf"),
        "large": 2**80,
        "colour": Colour.RED,
        "bytes": b"x",
    }
    return Result("odd", facts=facts, variables={"COUNT": 3}, result_map={"n": 4})  # type: ignore[dict-item]


def shown(context: Context) -> Result:
    context.progress(40, "half way ┃ done")
    return Result("shown", preview=("text/html", "<p>é</p>".encode()), warnings=["mind the gap"], difference=["a line"])


def refused(context: Context) -> Result:
    raise InputError("site a:\n  no room\nleft")


def broken(context: Context) -> Result:
    raise ValueError("nobody thought of this")


TASKS: dict[str, Callable[..., Result]] = {
    each.__name__: each for each in (take, need, key, odd, shown, refused, broken)
}
