"""A PrEstoCloud reconfiguration plan and its CLOUD_LIST: which places need a site, which lost their last instance.

The plan is what the TOSCA interpreter of PrEstoCloud writes (ow2-proactive/prestocloud-tosca-interpreter): a JSON list
of steps that boot, migrate or delete fragments, each at a kind of cloud and a region of it. CLOUD_LIST is the job
variable in which that interpreter looks for the clouds that may be used, and for their SUBNET_ID.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from proactive_tasks.overlay import checks
from proactive_tasks.overlay.checks import RuleError
from proactive_tasks.overlay.errors import InputError

MAX_BYTES = 4 << 20
"""The largest plan or CLOUD_LIST that is read."""

REGION_KEYS: Mapping[str, str] = {
    "aws": "AWS_DEFAULT_REGION",
    "azure": "AZ_LOCATION",
    "openstack": "OS_REGION_NAME",
    "edge": "EDGE_DEVICE",
    "lab": "LAB_REGION",
}
"""The kinds of cloud, and where an entry of CLOUD_LIST has its region. The last two are this package's own."""

KINDS: Mapping[str, str] = {"amazon": "aws", **{kind: kind for kind in REGION_KEYS}}
"""What a plan calls a kind of cloud."""

SECRET = re.compile(r"SECRET|PASSW|TOKEN|PRIVATE|CREDENTIAL|KEY(?!_ID)", re.IGNORECASE)
"""The keys of a CLOUD_LIST whose values are for the clouds alone."""

T = TypeVar("T", bound=BaseModel)

FRAGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}", re.ASCII)
LONGEST_NAME = 31


class Place(NamedTuple):
    """A region of a kind of cloud, or one edge device: where a site stands. The region is in lower case."""

    provider: str
    region: str

    def __str__(self) -> str:
        return f"{self.provider} {self.region}"


class Action(StrEnum):
    """What a step does with a fragment."""

    BOOT = "boot"
    MIGRATE = "migrate"
    DELETE = "delete"


class Instance(NamedTuple):
    """A fragment's machine at a place."""

    place: Place
    fragment: str
    id: str


Placements = Mapping[Instance, int]
"""How many of each run. One at 0 has run there: its place has lost something."""


class Move(NamedTuple):
    """A step of the plan, its places found: where the instance goes, and where it comes from."""

    entry: int
    fragment: str
    id: str
    source: Place | None
    target: Place | None

    @property
    def comes(self) -> Instance | None:
        """What runs after it and did not before."""
        return Instance(self.target, self.fragment, self.id) if self.target else None

    @property
    def goes(self) -> Instance | None:
        """What no longer runs after it."""
        return Instance(self.source, self.fragment, self.id) if self.source else None


def _word(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise RuleError(f"{checks.shown(value)} is not a word; write one")
    return value.strip()


def _action(value: object) -> object:
    if value not in set(Action):
        raise RuleError(f"{checks.shown(value)} is not an action; use {', '.join(Action)}")
    return value


def _fragment(value: object) -> object:
    if not isinstance(value, str) or not FRAGMENT.fullmatch(value):
        raise RuleError(
            f"{checks.shown(value)} is not the name of a fragment; use letters, digits and '_', '.', ':', '-'"
        )
    return value


def _number(value: object) -> object:
    """The identifier of an instance, which is text or a number, or not there."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RuleError(f"{checks.shown(value)} is not an identifier; write text or a whole number")


def _blank(value: object) -> object:
    return "" if value is None or value == "" else _word(value)


Word = Annotated[str, BeforeValidator(_word)]
Blank = Annotated[str, BeforeValidator(_blank)]


class Step(BaseModel):
    """An entry of the plan. What else it holds (start, end, type, docker, ...) is for those who boot the machines."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    action: Annotated[Action, BeforeValidator(_action)]
    fragment: Annotated[str, BeforeValidator(_fragment)]
    id: Annotated[str, BeforeValidator(_number)] = ""
    cloud: Blank = ""
    region: Blank = ""
    cloudsrc: Blank = ""
    regionsrc: Blank = ""

    @model_validator(mode="after")
    def _has_its_places(self) -> Self:
        if self.action is Action.DELETE:  # the interpreter names the source, others where the machine is
            pairs = [("cloudsrc", "regionsrc")] if self.cloudsrc or self.regionsrc else [("cloud", "region")]
        else:
            pairs = [("cloud", "region")] + [("cloudsrc", "regionsrc")] * (self.action is Action.MIGRATE)
        for key in (key for pair in pairs for key in pair):
            if not getattr(self, key):
                raise RuleError(f"is missing, but '{self.action}' needs it; add it", key)
        return self

    @property
    def target(self) -> tuple[str, str, str]:
        """Key, cloud and region of where the instance goes; empty if it goes nowhere."""
        return ("", "", "") if self.action is Action.DELETE else ("cloud", self.cloud, self.region)

    @property
    def source(self) -> tuple[str, str, str]:
        """Key, cloud and region of where it comes from; empty if it is new."""
        if self.action is Action.BOOT:
            return "", "", ""
        if self.cloudsrc:
            return "cloudsrc", self.cloudsrc, self.regionsrc
        return "cloud", self.cloud, self.region


def _kind(value: object) -> object:
    kind = KINDS.get(str(value).lower())
    if kind is None:
        raise RuleError(f"{checks.shown(value)} is not a kind of cloud; use one of {', '.join(REGION_KEYS)}")
    return kind


class Cloud(BaseModel):
    """An entry of CLOUD_LIST. Its further keys (images, users, flavors) stay as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    CLOUD_NAME: Word
    CLOUD_TYPE: Annotated[str, BeforeValidator(_kind)]
    SUBNET_ID: Blank = ""

    @model_validator(mode="after")
    def _has_a_region(self) -> Self:
        key = REGION_KEYS[self.CLOUD_TYPE]
        value = (self.model_extra or {}).get(key)
        if value is None or value == "":
            raise RuleError("is missing; add it", key)
        if not isinstance(value, str) or not checks.REGION.fullmatch(value):
            raise RuleError(f"{checks.shown(value)} is not a region; correct it", key)
        return self

    @property
    def region(self) -> str:
        """Its region, as the provider writes it."""
        return str((self.model_extra or {})[REGION_KEYS[self.CLOUD_TYPE]])

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.CLOUD_TYPE, self.region.lower())


def read_plan(text: str) -> list[Step]:
    """The steps of a plan.

    Raises:
        InputError: it is not one; the message names entry (counted from 1) and key.
    """
    return [_entry(Step, "plan", number, each) for number, each in enumerate(_list("plan", text), 1)]


class CloudList:
    """CLOUD_LIST, as it is read and as it is handed on.

    Raises:
        InputError: it is not one; the message names entry (counted from 1) and key.
    """

    def __init__(self, text: str) -> None:
        self.entries: list[dict[str, Any]] = _list("CLOUD_LIST", text)
        self.clouds = [_entry(Cloud, "CLOUD_LIST", number, each) for number, each in enumerate(self.entries, 1)]
        first: dict[Place, int] = {}
        for number, cloud in enumerate(self.clouds, 1):
            if (other := first.setdefault(cloud.place, number)) != number:
                raise InputError(
                    f"CLOUD_LIST, entries {other} and {number}: both are {cloud.place}, and a plan cannot tell them "
                    "apart; leave one out"
                )

    def at(self, place: Place) -> Cloud | None:
        """The cloud at a place."""
        return next((cloud for cloud in self.clouds if cloud.place == place), None)

    def with_subnets(self, subnets: Mapping[Place, str]) -> list[dict[str, Any]]:
        """The list as it was given, with the SUBNET_ID of each place that has one; the others keep their own."""
        return [
            {**entry, "SUBNET_ID": subnets.get(cloud.place, cloud.SUBNET_ID)}
            for entry, cloud in zip(self.entries, self.clouds, strict=True)
        ]


def without_secrets(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A CLOUD_LIST without what only the clouds are to know."""
    return [{key: value for key, value in entry.items() if not SECRET.search(key)} for entry in entries]


def moves(steps: Sequence[Step], clouds: CloudList) -> list[Move]:
    """The steps with their places found.

    A step names a kind of cloud (amazon, azure, openstack, edge) or a CLOUD_NAME. What is to run somewhere needs that
    cloud in the list, as the interpreter does; what leaves does not. Edge devices are in no list.

    Raises:
        InputError: a place is not to be found; the message names entry and key.
    """
    return [
        Move(
            number,
            step.fragment,
            step.id,
            _place(number, *step.source, clouds, listed=False),
            _place(number, *step.target, clouds, listed=True),
        )
        for number, step in enumerate(steps, 1)
    ]


def _place(number: int, key: str, word: str, region: str, clouds: CloudList, *, listed: bool) -> Place | None:
    if not word:
        return None
    where = f"plan, entry {number}"
    if not checks.REGION.fullmatch(region):
        raise InputError(
            f"{where}, {key.replace('cloud', 'region')}: {checks.shown(region)} is not a region; correct it"
        )
    kind = KINDS.get(word.lower())
    if kind is not None:
        place = Place(kind, region.lower())
        if listed and kind != "edge" and clouds.at(place) is None:
            raise InputError(
                f"{where}, {key}: {place} is not in CLOUD_LIST; add that cloud there, or make the plan anew"
            )
        return place
    named = [cloud for cloud in clouds.clouds if cloud.CLOUD_NAME.lower() == word.lower()]
    fitting = [cloud for cloud in named if cloud.place.region == region.lower()]
    if not named:
        raise InputError(
            f"{where}, {key}: {checks.shown(word)} is neither a kind of cloud ({', '.join(KINDS)}) nor a CLOUD_NAME of "
            "CLOUD_LIST; correct it"
        )
    if not fitting:
        there = ", ".join(cloud.region for cloud in named)
        raise InputError(f"{where}, {key}: the cloud {word} of CLOUD_LIST is at {there}, not at {region}; correct one")
    return fitting[0].place


def after_coming(before: Placements, changes: Iterable[Move]) -> dict[Instance, int]:
    """What runs when all that the plan boots, here or in another place, is there."""
    found = Counter(dict(before))
    found.update(move.comes for move in changes if move.comes and move.comes != move.goes)
    return dict(found)


def after_going(before: Placements, changes: Iterable[Move]) -> tuple[dict[Instance, int], list[str]]:
    """What runs when all that the plan takes away is gone; a warning for each step that takes what was not there."""
    found, warnings = dict(before), []
    for move in changes:
        gone = move.goes
        if gone is None or gone == move.comes:
            continue
        if not found.get(gone):
            warnings.append(f"plan, entry {move.entry}: {move.fragment} is not known to run at {gone.place}")
            continue
        found[gone] -= 1
    return found, warnings


def has_come(placements: Placements, changes: Iterable[Move]) -> bool:
    """Whether all that the plan boots runs already."""
    return all(placements.get(move.comes) for move in changes if move.comes)


def has_gone(placements: Placements, changes: Iterable[Move]) -> bool:
    """Whether nothing runs any more that the plan takes away."""
    return not any(placements.get(move.goes) for move in changes if move.goes and move.goes != move.comes)


def deserted(placements: Placements) -> set[Place]:
    """The places whose last instance is gone."""
    return {one.place for one in placements} - {one.place for one, count in placements.items() if count}


def digest(text: str) -> str:
    """What tells one plan from another, however it is indented."""
    plain = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:32]


def site_name(place: Place, taken: Collection[str] = ()) -> str:
    """The name of a place's site: kind and region, with a digest where these alone could be another place's too.

    Args:
        place: where the site stands.
        taken: names that sites of other places have.
    """
    region = re.sub(r"[^a-z0-9]+", "-", place.region).strip("-")
    plain = f"{place.provider}-{region}"
    mark = hashlib.sha256(str(place).encode()).hexdigest()[:6]
    if plain not in taken and len(plain) <= LONGEST_NAME and region == place.region:
        return plain
    return f"{plain[: LONGEST_NAME - 7].rstrip('-')}-{mark}"


def _list(what: str, text: str) -> list[dict[str, Any]]:
    if len(text) > MAX_BYTES:
        raise InputError(f"{what}: larger than {MAX_BYTES >> 20} MB; name the right file")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: not JSON ({str(error).splitlines()[0][:120]}); write a JSON list") from None
    if not isinstance(found, list):
        raise InputError(f"{what}: a JSON {type(found).__name__} is not a JSON list; write one")
    for number, entry in enumerate(found, 1):
        if not isinstance(entry, dict):
            raise InputError(f"{what}, entry {number}: a JSON {type(entry).__name__} is not a JSON object; write one")
    return found


def _entry(model: type[T], what: str, number: int, value: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        path, message = checks.describe(error.errors(include_url=False)[0])
        where = checks.dotted(path)
        raise InputError(f"{what}, entry {number}{f', {where}' if where else ''}: {message}") from None
