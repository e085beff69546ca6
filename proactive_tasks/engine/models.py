"""Models of variables (`PA:INTEGER[1,10]`): what the scheduler checks before a job starts, in its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from proactive_tasks.store.location import space

from . import cron, dates, jsontext, regexp, spel
from .task.java import text as java_text
from .workflow import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .workflow import Variable, Workflow

RANGE = re.compile(r"([^),]+),([^),]+)|([^),]+)")
WHOLE = {"INTEGER": ("Integer", 31), "SHORT": ("Short", 15), "LONG": ("Long", 63)}
REAL = {"FLOAT": "Float", "DOUBLE": "Double"}
REAL_FORM = re.compile(r"[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[fFdD]?)", re.ASCII)
LARGEST = {"FLOAT": 3.4028235677973366e38, "DOUBLE": float("inf")}  # the least number that is infinite to Java
BOOLEANS = ("true", "false", "1", "0")
CATALOG_OBJECT = re.compile(r"[^/]+/[^/]+(/[^/][0-9]{12})?")
_URI_LETTER = r"(?:[^\s<>\"{}|\\^`%\[\]#]|%[0-9A-Fa-f]{2})"
URI = re.compile(
    rf"(?:[A-Za-z][\w+.\-]*:)?(?://(?:{_URI_LETTER}*@)?\[[0-9A-Fa-f:.]+\])?{_URI_LETTER}*(?:#{_URI_LETTER}*)?"
)
_AUTHORITY = r"//(?:[^/?#@]*@)?(?:\[[0-9A-F:.]+\]|[^/?#:\[\]@]*)(?::\d*)?(?=[/?#]|$).*"
URL = re.compile(rf"(?i:(?:https?|ftp):(?:{_AUTHORITY}|(?!//).*)|file:.*|mailto:.+|jar:.+!/.*)", re.DOTALL)
SPACES = ("USER_FILE", "USER_FOLDER", "GLOBAL_FILE", "GLOBAL_FOLDER")
PATTERNS = {
    **{name: rf"^(?i:{name})$|^(?i:{name})\[([^)]+)\]$" for name in (*WHOLE, *REAL)},
    "LIST": r"^(?i:LIST)\(([^)]+)\)$",
    "REGEXP": r"^(?i:REGEXP)\((.+)\)$",
    "SPEL": r"^(?i:SPEL)\((.+)\)$",
    "DATETIME": r"^(?i:DATETIME)\(([^)]+)\)$|^(?i:DATETIME)\(([^)]+)\)\[([^)]+)\]$",
    "MODEL_FROM_URL": r"^(?i:MODEL_FROM_URL)\((.+)\)$",
    "CATALOG_OBJECT": r"^(?i:CATALOG_OBJECT)$|^(?i:CATALOG_OBJECT)\(([^)]+)\)$",
    **{
        name: rf"^(?i:{name})$"
        for name in ("BOOLEAN", "CRON", "JSON", "NOT_EMPTY_STRING", "URI", "URL", "HIDDEN", "CREDENTIAL", *SPACES)
    },
}
UNSUPPORTED = ("MODEL_FROM_URL", "CATALOG_OBJECT")
OF_CATALOG = re.compile(r"\s*PA:CATALOG_OBJECT", re.IGNORECASE)
Objects = Callable[[str, str], str | None]
"""A catalog's judgement of a model PA:CATALOG_OBJECT and a value: why it does not fit, or None."""


def check(workflow: Workflow, credentials: Collection[str] = (), objects: Objects | None = None) -> None:
    """Check every variable of a workflow against its model; those that name `objects` where there is a catalog.

    Raises:
        RefusedError: with the scheduler's text for the first one that does not fit.
    """
    values = workflow.values()
    for variable in workflow.variables.values():
        _check(variable, variable.value, values, credentials, "", objects)
    for task in workflow.tasks.values():
        own = {
            name: values.get(name, each.value) if each.inherited else each.value
            for name, each in task.variables.items()
        }
        for variable in task.variables.values():
            value = own[variable.name]
            _check(variable, value, own, credentials, f"Task '{task.name}': ", objects)


def _check(
    variable: Variable,
    value: str,
    values: Mapping[str, str],
    credentials: Collection[str],
    where: str,
    objects: Objects | None,
) -> None:
    if objects is not None and OF_CATALOG.match(variable.model):
        fault = objects(variable.model, value)
    else:
        fault = validate(variable.model, value, variable.name, values, credentials)
    if fault:
        raise RefusedError(f"At [tag:job] : {where}Variable '{variable.name}': Model {variable.model}: {fault}")


def validate(
    model: str, value: str, name: str = "", values: Mapping[str, str] | None = None, credentials: Collection[str] = ()
) -> str | None:
    """Why a value does not fit a model, or the model itself is wrong, in the scheduler's words; None if all is well."""
    try:
        return _validate(model, value, name, values or {}, credentials)
    except ValueError as error:
        return str(error)


def _validate(model: str, value: str, name: str, values: Mapping[str, str], credentials: Collection[str]) -> str | None:
    expression = model.strip()
    if not expression.upper().startswith("PA:"):
        return None
    optional = expression.endswith("?")
    expression = expression[3:].removesuffix("?")
    kind = _kind(expression, model)
    if optional and kind == "NOT_EMPTY_STRING":
        return f"Invalid model '{model}': The type 'NOT_EMPTY_STRING' is disallowed to be optional"
    match = re.fullmatch(PATTERNS[kind], expression, re.DOTALL)
    if match is None:
        return f"Model expression {expression} doesn't match the expected pattern: {PATTERNS[kind]}"
    if optional and not (value if kind in ("URI", "URL") else value.strip()):
        return None
    if kind in UNSUPPORTED:
        return f"The embedded engine does not support the type '{kind}'"
    groups = [group for group in match.groups() if group is not None]
    if kind == "SPEL":
        return spel.check(groups[0], value, name, values)
    if kind == "CREDENTIAL":
        missing = f"Could not find the key named [{value}] in the third-party credentials"
        return None if value in credentials else missing
    return _CHECKS[kind](value, kind, groups)


def _kind(expression: str, model: str) -> str:
    """The type at the start of an expression: the longest that it begins with, as the scheduler looks it up."""
    known = [name for name in PATTERNS if expression.upper().startswith(name)]
    if not known:
        raise ValueError(f"Unrecognized type in model '{model.strip()}'")
    return max(known, key=len)


def _number(value: str, kind: str) -> float:
    if kind in WHOLE:
        name, bits = WHOLE[kind]
        if re.fullmatch(r"[+-]?\d+", value) and -(2**bits) <= int(value) < 2**bits:
            return int(value)
    else:
        name = REAL[kind]
        if REAL_FORM.fullmatch(value.strip()):
            number = float(value.strip().rstrip("fFdD") if "n" not in value else value)
            if abs(number) >= LARGEST[kind]:
                raise ValueError(f"Invalid value , {name} value expected but received '{value}', Value is infinite")
            return number
    raise ValueError(f"Invalid value, {name} value expected but received '{value}'")


def _check_number(value: str, kind: str, groups: list[str]) -> str | None:
    number = _number(value, kind)
    if not groups:
        return None
    low, high = _range(groups[0], kind, lambda text: _number(text, kind))
    if low <= number <= high:
        return None
    return (
        f"Expected value should be in range {_interval(java_text(low), java_text(high))}, received {java_text(number)}"
    )


def _range(expression: str, kind: str, read: Callable[[str], float]) -> tuple[float, float]:
    """The bounds of `low,high` or of a single `low`."""
    match = RANGE.fullmatch(expression)
    if match is None:
        raise ValueError(f"Expression '{expression}' does not match ^([^),]+)$|^([^),]+),([^),]+)$")
    try:
        low, high = (read(match[1]), read(match[2])) if match[3] is None else (read(match[3]), float("inf"))
    except ValueError as error:
        raise ValueError(f"Illegal {kind} range expression '{expression}', {error}") from error
    if low > high:
        raise ValueError(f"Illegal {kind} range expression '{expression}', Invalid range: [{low}‥{high}]")
    return low, high


def _interval(low: str, high: str) -> str:
    return f"[{low}‥+∞)" if high == "Infinity" else f"[{low}‥{high}]"


def _check_boolean(value: str, _kind: str, _groups: list[str]) -> str | None:
    return None if value.lower() in BOOLEANS else f"Invalid value, Boolean value expected but received '{value}'"


def _check_list(value: str, _kind: str, groups: list[str]) -> str | None:
    allowed = [item.strip() for item in groups[0].rstrip(",").split(",")]
    if value in allowed:
        return None
    return f"Expected value should be one of [{', '.join(allowed)}], received '{value}'"


def _check_regexp(value: str, _kind: str, groups: list[str]) -> str | None:
    return (
        None
        if regexp.fits(groups[0], value)
        else f"Expected value should match regular expression {groups[0]} , received {value}"
    )


def _check_cron(value: str, _kind: str, _groups: list[str]) -> str | None:
    try:
        cron.parse(value)
    except ValueError as error:
        return f"Expected value should be a valid cron expression, received '{value}', error: {error}"
    return None


def _check_json(value: str, _kind: str, _groups: list[str]) -> str | None:
    fault = jsontext.fault(value)
    return None if fault is None else f"Invalid JSON: {fault}"


def _check_not_empty(value: str, _kind: str, _groups: list[str]) -> str | None:
    return None if value.strip() else "Expected value should not be blank."


def _check_uri(value: str, _kind: str, _groups: list[str]) -> str | None:
    valid = URI.fullmatch(value)
    return None if valid else f"{value} is not a valid URI."


def _check_url(value: str, _kind: str, _groups: list[str]) -> str | None:
    return None if URL.fullmatch(value.strip()) else f"{value} is not a valid URL."


def _check_datetime(value: str, _kind: str, groups: list[str]) -> str | None:
    moment = dates.parse(groups[0], value)
    if len(groups) == 1:
        return None
    bounds = [dates.parse(groups[0], bound.strip()) for bound in groups[1].split(",")]
    low, high = bounds if len(bounds) > 1 else (bounds[0], None)
    if low <= moment and (high is None or moment <= high):
        return None
    shown = _interval(dates.show(low), "Infinity" if high is None else dates.show(high))
    return f"Expected value should be in range {shown}, received {dates.show(moment)}"


def _check_space(value: str, kind: str, _groups: list[str]) -> str | None:
    which, what = kind.lower().split("_")
    path = space(which) / value
    inside = path.resolve().is_relative_to(space(which).resolve())
    found = inside and (path.is_dir() if what == "folder" else path.is_file())
    return None if found and value else f"Could not find the {what} path '{value}' in the {which} data space."


def _fits(_value: str, _kind: str, _groups: list[str]) -> str | None:
    return None


_CHECKS: dict[str, Callable[[str, str, list[str]], str | None]] = {
    **dict.fromkeys((*WHOLE, *REAL), _check_number),
    **dict.fromkeys(SPACES, _check_space),
    "BOOLEAN": _check_boolean,
    "LIST": _check_list,
    "REGEXP": _check_regexp,
    "CRON": _check_cron,
    "JSON": _check_json,
    "NOT_EMPTY_STRING": _check_not_empty,
    "URI": _check_uri,
    "URL": _check_url,
    "DATETIME": _check_datetime,
    "HIDDEN": _fits,
}
