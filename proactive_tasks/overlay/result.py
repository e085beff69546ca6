"""What every task returns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Result:
    """The outcome of a task.

    `difference` lists what was (or, in a dry run, would be) done, one line each; `facts` are JSON-like values for
    whoever comes next; `replicas` holds the arguments of each task that is to follow in parallel.
    """

    task: str
    changed: bool = False
    difference: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    replicas: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)  # for every task that follows
    result_map: dict[str, str] = field(default_factory=dict)  # for whoever asks the job, by name
    preview: tuple[str, bytes] | None = None  # content type and document, for the scheduler's preview

    def to_json(self) -> str:
        """The result as one JSON string, the form in which it crosses the scheduler."""
        values = asdict(self)
        del values["preview"], values["variables"], values["result_map"]
        return json.dumps(_plain(values), allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it: other objects as text, what is no finite number as nothing; no key but text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=str)
    return str(value)
