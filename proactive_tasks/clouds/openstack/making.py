"""How the steps of a site are taken: what all kinds of resources share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.openstack.api import Api, RefusedError, remove
from proactive_tasks.clouds.openstack.facts import Found, Names, named
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.clouds.steps import Steps, shown

T = TypeVar("T")

NEW = "(new)"

MANAGED = f"{naming.MANAGED_BY}: "
"""What the descriptions of our rules begin with; others in our groups are somebody else's."""

TAGGED: Mapping[type[Any], str] = {
    Network: "network", Subnet: "subnet", Router: "router", SecurityGroup: "security group", Port: "port",
    FloatingIP: "floating IP",
}  # fmt: skip

PAIR_WORDS = ("address pair", "address_pair")

SEEN_S = 1.5
"""How long a call whose answer was lost may still be at work in the cloud."""


class Making:
    """The steps of a site, each said once; what is there goes through them untouched."""

    def __init__(self, api: Api, order: GatewayOrder, found: Found, steps: Steps) -> None:
        self.api, self.order, self.site, self.found, self.steps = api, order, order.site, found, steps
        self.names = Names(order.overlay, order.site.name)
        self.held: list[Any] = []
        """What is there and bears tags."""

    def _bulk(
        self,
        kind: str,
        of: type[Any],
        found: Mapping[str, Any],
        look: Callable[[], Iterable[Any]],
        wanted: Mapping[str, Mapping[str, Any]],
        *,
        shows: Sequence[str] = (),
        unless: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] | None = None,
    ) -> dict[str, Any]:
        """All wanted objects of a kind; those that lack by one call.

        Args:
            kind: what people call it.
            of: the SDK's class.
            found: what is there, by name.
            look: lists what is there now.
            wanted: attributes by name.
            shows: attributes that the plan tells.
            unless: what to ask for instead where a cloud refuses an attribute, by name.
        """
        made = {name: found[name] for name in wanted if name in found}
        lacking = {name: {"name": name, **attributes} for name, attributes in wanted.items() if name not in made}
        if lacking:
            told = {name: "".join(f" ({lacking[name][key]})" for key in shows) for name in lacking}
            call = f"Create{of.__name__}s({', '.join(f'{name}{told[name]}' for name in lacking)})"

            def do() -> list[Any]:
                bodies = [body for name, body in lacking.items() if name not in made]
                try:
                    fresh = self.api.call(call, lambda: list(of.bulk_create(self.api.network, bodies)))
                except RefusedError as error:
                    if not unless or not any(word in error.answer.lower() for word in PAIR_WORDS):
                        raise
                    bodies = [unless[body["name"]](body) if body["name"] in unless else body for body in bodies]
                    fresh = self.api.call(call, lambda: list(of.bulk_create(self.api.network, bodies)))
                made.update({one.name: one for one in fresh})
                return [made[name] for name in lacking]

            def find() -> list[Any] | None:
                def seen() -> list[Any] | None:
                    there = {one.name: one for one in self.api.list(f"List{of.__name__}s()", look)}
                    made.update({name: there[name] for name in lacking if name in there})
                    return [made[name] for name in lacking] if all(name in made for name in lacking) else None

                return soon(seen)

            self.steps.take(
                "; ".join(f"{kind} {name}: make{told[name]}" for name in lacking),
                call,
                do,
                instead=[],
                makes=[(kind, name) for name in lacking],
                find=find,
            )
            for name, body in lacking.items():
                made.setdefault(name, of.new(id=NEW, **body))
        self.held += made.values()
        return made

    def _finder(self, name: str, look: Callable[[], Iterable[T]]) -> Callable[[], T | None]:
        def find() -> T | None:
            return soon(lambda: named(self.api.list("List()", look), self.names).get(name))

        return find

    def _change(self, one: Any, kind: str, what: str, update: Callable[..., Any], **attributes: Any) -> None:
        name = getattr(one, "description", "") if kind == "floating IP" else one.name
        call = shown(f"Update{type(one).__name__}", name=name, **attributes)
        self.steps.take(
            f"{kind} {name}: set {what}",
            call,
            lambda: bool(self.api.call(call, lambda: update(one.id, **attributes))),
            instead=True,
        )

    def _gone(self, call: str, delete: Callable[[str], Any], identifier: str) -> None:
        """Remove one thing, which may be gone already."""
        remove(self.api, call, lambda: delete(identifier))

    def _tags(self) -> None:
        """Neutron takes tags by a second call, which a crash can lose: the name finds what has none."""
        for one in self.held:
            kind = TAGGED[type(one)]
            name = one.description if isinstance(one, FloatingIP) else one.name
            have = set(one.tags or ())
            if not have >= set(self.names.tags):
                tags = sorted(have | set(self.names.tags))
                call = shown("SetTags", **{kind.replace(" ", "_"): name}, tags=tags)
                self.steps.take(
                    f"{kind} {name}: tag",
                    call,
                    lambda call=call, one=one, tags=tags: bool(  # type: ignore[misc]
                        self.api.call(call, lambda: self.api.network.set_tags(one, tags))
                    ),
                    instead=True,
                )


def soon(look: Callable[[], T | None]) -> T | None:
    """What there is, or comes within `SEEN_S`."""
    end = time.monotonic() + SEEN_S
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(0.3)
    return found
