"""What a flow script decides, as the scheduler reads it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import cron
from .job import Action
from .task.java import decode, text

if TYPE_CHECKING:
    from .workflow import Flow

VARIABLES = {"replicate": "runs", "if": "branch", "loop": "loop"}
WORDS = {"replicate": "REPLICATE", "if": "IF", "loop": "LOOP"}


class ActionError(ValueError):
    """A flow script decided nothing; the task is FAULTY and its flow goes on as if there were no action."""


def read(flow: Flow, handed: dict[str, Any], failure: str | None, now: datetime) -> Action:
    """The decision of a flow script, by the variables that it handed over or why it failed.

    Raises:
        ActionError: with the scheduler's text.
    """
    if failure is not None:
        raise ActionError(f"Failed to execute flow script: {failure}")
    name, word = VARIABLES[flow.kind], WORDS[flow.kind]
    value = decode(handed.get(name))
    if value is None:
        raise ActionError(f"Script environment for {word} action needs to define variable {name}")
    if flow.kind == "replicate":
        return Action(runs=_runs(value))
    if flow.kind == "if":
        if value not in ("if", "else"):
            raise ActionError("IF action: value for branch needs to be one of if or else")
        return Action(branch=value)
    return _loop(value, now)


def _runs(value: Any) -> int:
    try:
        runs = int(value) if not isinstance(value, str) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise ActionError(f"REPLICATE action: value of variable runs is no number: {text(value)}") from None
    if runs < 0:
        raise ActionError("REPLICATE action: value of variable runs cannot be negative")
    return runs


def _loop(value: Any, now: datetime) -> Action:
    if isinstance(value, bool):
        return Action(loop=value)
    words = str(value).strip()
    if words.lower() in ("true", "false"):
        return Action(loop=words.lower() == "true")
    try:
        moment = cron.parse(words).after(now.astimezone())
    except ValueError as error:
        raise ActionError(f"LOOP action: value for loop is neither a boolean nor a cron expression: {error}") from error
    if moment is None:
        raise ActionError(f"LOOP action: the cron expression {words!r} never matches")
    return Action(loop=True, not_before=moment)
