"""What a flow script decides, as the scheduler reads it."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import cron
from .job import Action
from .task.java import decode, text

if TYPE_CHECKING:
    from .workflow import Flow

VARIABLES = {"replicate": "runs", "if": "branch", "loop": "loop"}
MISSING = {
    "replicate": "Script environment for REPLICATE action",
    "if": "Environment for IF action",
    "loop": "Script environment for LOOP action",
}


class ActionError(ValueError):
    """A flow script decided nothing; the task is FAULTY and its flow goes on as if there were no action."""


def read(flow: Flow, handed: dict[str, Any], failure: str | None, now: datetime) -> Action:
    """The decision of a flow script, by the variables that it handed over or why it failed.

    Raises:
        ActionError: with the scheduler's text.
    """
    if failure is not None:
        raise ActionError(f"Failed to execute flow script: {failure}")
    name = VARIABLES[flow.kind]
    value = decode(handed.get(name))
    if value is None:
        raise ActionError(f"{MISSING[flow.kind]} needs to define variable {name}")
    if flow.kind == "replicate":
        return Action(runs=_runs(value))
    if flow.kind == "if":
        branch = value.lower() if isinstance(value, str) else ""
        if branch not in ("if", "else"):
            raise ActionError("IF action: value for branch needs to be one of if or else")
        return Action(branch=branch)
    return _loop(value, now)


def _runs(value: Any) -> int:
    try:
        runs = math.floor(float(text(value)))
    except (ValueError, OverflowError):
        raise ActionError("REPLICATE action: could not parse value for variable runs") from None
    if runs < 0:
        raise ActionError("REPLICATE action: value of variable runs cannot be negative")
    return runs


def _loop(value: Any, now: datetime) -> Action:
    """True, or a cron expression: whatever else it is ends the loop, and is no fault."""
    words = text(value)
    if words.lower() == "true":
        return Action(loop=True)
    try:
        moment = cron.parse(words).after(now.astimezone())
    except ValueError:
        return Action()
    if moment is None:
        raise ActionError(f"LOOP action: the cron expression {words!r} never matches")
    return Action(loop=True, not_before=moment)
