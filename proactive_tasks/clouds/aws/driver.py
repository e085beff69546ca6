"""AWS as a provider: a site is a VPC, its gateway an EC2 instance with an Elastic IP; through boto3.

The VPC is the site's subnet. Routes of a VPC hold for whole subnets, the gateway's own packets included, so it has a
subnet of its own (the last /28) whose table leads to the Internet; the applications' table leads to its interface.
Interface and address are made before the instance: cloud-init needs the Internet at its first boot.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from operator import itemgetter
from typing import Any

from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.aws.api import (
    DEAD,
    INSIDE,
    KINDS,
    OUTSIDE,
    STOPPED,
    Api,
    Found,
    Names,
    Object,
    alive,
    connect,
    name_of,
    open_session,
    require_credentials,
    said,
    state,
    tags_of,
)
from proactive_tasks.clouds.aws.removal import Removal
from proactive_tasks.clouds.aws.site import SiteSteps
from proactive_tasks.clouds.naming import MANAGED_BY, resource
from proactive_tasks.clouds.provider import (
    Change,
    GatewayFacts,
    GatewayOrder,
    HostProbe,
    Journal,
    Leftover,
    NetworkFacts,
    Progress,
    SiteFacts,
)
from proactive_tasks.clouds.steps import BusyError, Noted, Steps, Taken, UnclearError, until
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import Site

DEBIAN = ("136693071363", "debian-12-amd64-*")
"""Who publishes Debian's images, and their names (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm)."""

SETTLE_S = 20.0
"""How long something that was made may stay invisible (EC2 API Reference, "Eventual consistency")."""
RUNNING_S, TERMINATED_S, PATIENCE_S = 300.0, 600.0, 180.0


@dataclass
class AwsProvider:
    """Sites in AWS. See `provider.Provider`."""

    name: str = "aws"
    settle_s: float = SETTLE_S
    poll_s: float = 2.0
    patience_s: float = PATIENCE_S
    _sessions: dict[str, Any] = field(default_factory=dict, repr=False)  # by profile; a first client takes a second
    _apis: dict[tuple[str, str], Api] = field(default_factory=dict, repr=False)
    _images: dict[str, str] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def calls(self) -> int:
        """How many API calls it made so far."""
        return sum(api.calls for api in self._apis.values())

    def check(self) -> None:
        """There must be credentials, or a profile that a site can name."""
        require_credentials()

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site."""
        found, name = self._look(overlay, site), resource(overlay, site.name, "gateway")
        instance = found.one("instance", name)
        if instance is None:
            return SiteFacts(None, found)
        address, interface = found.one("address", name), found.one("network interface", name)
        bound = address and interface and address.get("NetworkInterfaceId") == interface["NetworkInterfaceId"]
        public = IPv4Address(address["PublicIp"]) if address and bound else None
        return SiteFacts(GatewayFacts(instance["InstanceId"], state(instance) not in STOPPED, public), found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        noted = Noted()
        self._steps(order, facts.found, noted).gateway()
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped."""
        found, taken = self._settled(order, facts.found, journal), self._taken(journal, progress)
        instance, address = self._steps(order, found, taken).gateway()
        self._await_running(self._api(order.site), [instance["InstanceId"]])
        return GatewayFacts(instance["InstanceId"], True, IPv4Address(address["PublicIp"]))

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the site's application hosts to the number wanted."""
        api, taken = self._api(order.site), self._taken(journal, progress)
        found = self._settled(order, self._look(order.overlay, order.site), journal)
        self._await_running(api, self._steps(order, found, taken).hosts())
        wanted = {*Names(order.overlay, order.site.name).all(order.site.hosts)}
        self._terminate(api, [each for each in found.instances() if name_of("instance", each) not in wanted], taken)
        return [change.line for change in taken.changes]

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Terminate the gateway's instance; its disk goes with it, its interface and address stay."""
        taken = self._taken(journal, lambda _line: None)
        self._terminate(self._api(site), self._mine(overlay, site, "instance", part="gateway"), taken)
        return [change.line for change in taken.changes]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site; of an adopted network only our routes."""
        api, found, taken = self._api(site), self._look(overlay, site), self._taken(journal, progress)
        self._terminate(api, found.instances(), taken)
        Removal(api, found, taken).all()
        until(partial(self._nothing, overlay, site), TERMINATED_S, f"site {site.name}: all removed", self.poll_s)
        for kind in KINDS:
            for name in Names(overlay, site.name).all(site.hosts):
                journal.gone(kind, name)
        return [change.line for change in taken.changes]

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """Everything with our tags in these regions; a terminated instance that is still told of does not count."""
        wanted = {"tag:managed-by": MANAGED_BY, **({"tag:overlay": overlay} if overlay else {})}
        return [
            Leftover(self.name, api.region, its.get("overlay", ""), its.get("site", ""), kind, name_of(kind, each))
            for region in dict.fromkeys(regions)
            for api in [self._api_of("", region, f"overlay {overlay or '(any)'}")]
            for kind in KINDS
            for each in api.look(kind, wanted)
            for its in [tags_of(each)]
            if state(each) != "terminated"
        ]

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:
        """The VPC and the applications' subnet; of an adopted VPC the subnet that the site names."""
        if vpc := str(site.options.get("vpc", "")):
            return NetworkFacts(vpc, str(site.options.get("subnet", "")))
        vpc, subnet = resource(overlay, site.name), resource(overlay, site.name, "applications")
        return NetworkFacts(made.get(("VPC", vpc), ""), made.get(("subnet", subnet), ""))

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """Connect through the Internet; an OSError is for the caller to retry."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's application hosts: targets, since nobody has a way into them from here."""
        found = {}
        for each in self._mine(overlay, site, "instance"):
            number = re.fullmatch(r".*--host(\d+)", tags_of(each).get("Name", ""))
            if number and alive(each):
                found[int(number[1])] = IPv4Address(each["PrivateIpAddress"])
        return [HostProbe(f"{site.name}/host{number}", found[number], None) for number in sorted(found)]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002
        """None: gateways see whatever address the controller has in the Internet."""
        return []

    def _api(self, site: Site) -> Api:
        return self._api_of(str(site.options.get("profile", "")), site.region, f"site {site.name}")

    def _api_of(self, profile: str, region: str, whose: str) -> Api:
        with self._lock:
            if profile not in self._sessions:
                self._sessions[profile] = open_session(profile, whose)
            if (profile, region) not in self._apis:
                self._apis[profile, region] = connect(self._sessions[profile], region, whose)
            return self._apis[profile, region]

    def _taken(self, journal: Journal, progress: Progress) -> Taken:
        return Taken(journal, progress, identifier=itemgetter("Identifier"), patience_s=self.patience_s)

    def _steps(self, order: GatewayOrder, found: Found, steps: Steps) -> SiteSteps:
        api, names = self._api(order.site), Names(order.overlay, order.site.name)
        return SiteSteps(api, order, found, steps, names, partial(self._find, order), partial(self._image, api))

    # What is there

    def _mine(self, overlay: str, site: Site, kind: str, *, part: str = "") -> tuple[Object, ...]:
        wanted = {"tag:managed-by": MANAGED_BY, "tag:overlay": overlay, "tag:site": site.name}
        if part:
            wanted["tag:Name"] = resource(overlay, site.name, part)
        return self._api(site).look(kind, wanted)

    def _look(self, overlay: str, site: Site) -> Found:
        """One look at everything: each kind once, and what can only be in a VPC not at all without one."""
        api, vpc = self._api(site), str(site.options.get("vpc", ""))
        held = {"VPC": api.look("VPC", {"vpc-id": vpc}) if vpc else self._mine(overlay, site, "VPC")}
        for kind in (*OUTSIDE, *(INSIDE if held["VPC"] else ())):
            whole = vpc and kind in {"subnet", "route table"}
            held[kind] = api.look(kind, {"vpc-id": vpc}) if whole else self._mine(overlay, site, kind)
        return Found(held)

    def _settled(self, order: GatewayOrder, found: Found, journal: Journal) -> Found:
        """Look again while something that an earlier run may have made can still be invisible; record what it made."""
        names = Names(order.overlay, order.site.name).all(order.site.hosts)
        intended = {(kind, name): journal.pending(kind, name) for kind in KINDS for name in names}
        ends = {what: at + timedelta(seconds=self.settle_s) for what, at in intended.items() if at is not None}
        seen = found

        def look() -> Found | None:
            nonlocal seen
            now = datetime.now(UTC)
            if not any(end > now and seen.one(*what) is None for what, end in ends.items()):
                return seen
            seen = self._look(order.overlay, order.site)
            return None

        if ends:
            waiting = f"site {order.site.name}: what an earlier run made shows up"
            seen = until(look, self.settle_s + TERMINATED_S, waiting, min(1.0, self.poll_s))
        for what in ends:
            if (made := seen.one(*what)) is not None:
                journal.made(*what, made[KINDS[what[0]].identifier])
        return seen

    def _find(self, order: GatewayOrder, kind: str, name: str) -> Object | None:
        """What a call with an unclear outcome made; None when it would have to be visible by now."""
        end = datetime.now(UTC) + timedelta(seconds=self.settle_s)
        part = name.removeprefix(resource(order.overlay, order.site.name)).removeprefix("--")

        def look() -> tuple[Object | None] | None:
            found = Found({kind: self._mine(order.overlay, order.site, kind, part=part)}).one(kind, name)
            return (found,) if found is not None or datetime.now(UTC) > end else None

        return until(look, self.settle_s + TERMINATED_S, name, min(1.0, self.poll_s))[0]

    def _image(self, api: Api) -> str:
        """The newest Debian 12 image of the region."""
        if api.region not in self._images:
            owner, name = DEBIAN
            filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
            images = api.call("DescribeImages", Owners=[owner], Filters=filters)["Images"]
            if not images:
                raise InputError(
                    f"region {api.region}: DescribeImages finds no image {name} of owner {owner} (Debian); "
                    "name one by the option image"
                )
            newest: Object = max(images, key=lambda image: str(image["CreationDate"]))
            self._images[api.region] = newest["ImageId"]
        return self._images[api.region]

    def _nothing(self, overlay: str, site: Site) -> bool | None:
        """True when nothing of ours is told of any more."""
        with suppress(BusyError, UnclearError):
            found = self._look(overlay, site)
            if not any(alive(each) for kind in KINDS for each in found.ours(kind)):
                return True
        return None

    # Instances on their way

    def _await_running(self, api: Api, identifiers: Sequence[str]) -> None:
        def running() -> bool | None:
            states = _states(api, identifiers) or {}
            for each in states.values():
                if state(each) in DEAD:
                    reason = each.get("StateReason", {}).get("Message") or each.get("StateTransitionReason", "")
                    raise ProviderError(
                        f"instance {each['InstanceId']}, made by RunInstances, ended right after its start "
                        f"({state(each)}): {reason}; correct what it names, then run this again"
                    )
            return True if all(state(states.get(each, {})) == "running" for each in identifiers) else None

        if identifiers:
            until(running, RUNNING_S, f"instance {', '.join(identifiers)} runs", self.poll_s)

    def _terminate(self, api: Api, instances: Iterable[Object], taken: Taken) -> None:
        doomed = {each["InstanceId"]: each for each in instances if state(each) != "terminated"}
        for identifier, each in doomed.items():
            if alive(each):
                call = partial(api.call, "TerminateInstances", identifier, fine={"NotFound"}, InstanceIds=[identifier])
                line = f"instance {name_of('instance', each)}: terminate"
                taken.take(line, said("TerminateInstances", identifier), call, instead={})

        def gone() -> bool | None:
            states = _states(api, [*doomed])
            return True if states is not None and all(state(each) == "terminated" for each in states.values()) else None

        if doomed:
            until(gone, TERMINATED_S, f"instance {', '.join(doomed)} is terminated", self.poll_s)
        for each in doomed.values():
            taken.journal.gone("instance", name_of("instance", each))


def _states(api: Api, identifiers: Sequence[str]) -> dict[str, Object] | None:
    """Instances by identifier; None where the API does not answer just now."""
    with suppress(BusyError, UnclearError):
        return {each["InstanceId"]: each for each in api.look("instance", {"instance-id": identifiers})}
    return None
