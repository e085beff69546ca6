"""An emulated AWS: moto's EC2 in this process, made as strict as AWS, its state handed to the network.

Real: the API as boto3 speaks it, what is refused (see `aws_rules`), what a VPC routes, translates and admits. Not
real: signatures are not verified, prices, limits of rate, network access lists (the default one admits everything),
and public addresses other than Elastic IPs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from proactive_tasks.lab.cloud.aws import rules
from proactive_tasks.lab.cloud.aws.rules import Account, Call, RefusalError
from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.model import (
    ANYWHERE,
    BLOCKS,
    INTERNET,
    NOWHERE,
    Cloud,
    Domain,
    Nic,
    Route,
    Rule,
    Segment,
    Server,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ACCESS_KEY = "AKIAEMULATEDCLOUDKEY"
SECRET_KEY = "of-no-use-outside-the-lab"  # noqa: S105 - signatures are not verified
REGION = "eu-central-1"

CHANGE_S = 0.1
"""The least time that an instance takes to change its state."""
CARRY_S = 20.0
"""How long a call waits for the network, then it is answered: no client waits much longer."""

DEBIAN = "136693071363"
IMAGES = (
    ("debian-12-amd64-20240717-1811", "x86_64", datetime(2024, 7, 17, 12, tzinfo=UTC)),
    ("debian-12-amd64-20251006-2257", "x86_64", datetime(2025, 10, 6, 12, tzinfo=UTC)),
    ("debian-12-arm64-20251006-2257", "arm64", datetime(2025, 10, 6, 12, tzinfo=UTC)),
    ("debian-12-backports-amd64-20251006-2257", "x86_64", datetime(2025, 10, 6, 12, tzinfo=UTC)),
)

LIFECYCLE = {"RunInstances", "StartInstances", "StopInstances", "TerminateInstances"}
"""Calls that answer at once: what they ask for happens later."""

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def make_app(carry: Carry) -> EmulatedAws:
    """The API as a WSGI application, empty; one a process, since moto's state is the process's."""
    return EmulatedAws(carry)


def environment(url: str) -> dict[str, str]:
    """The variables by which boto3 finds it."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass
class _Change:
    """An instance on its way to another state."""

    backend: Any
    instance: Any
    state: str
    not_before: float
    carried: Future[None] | None = None
    reason: str = ""


class EmulatedAws:
    """See `make_app`. `account` is what tests set."""

    def __init__(self, carry: Carry) -> None:
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # hundreds of images that nobody asks for
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.ec2.models import ec2_backends
        from moto.ec2.models.route_tables import Route as MotoRoute
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        setattr(MotoRoute, "state", property(rules.blackhole))  # noqa: B010 - moto's is always active
        self._moto: WSGIApplication = DomainDispatcherApplication(create_backend_app)
        self._backends: Any = ec2_backends[DEFAULT_ACCOUNT_ID]
        self._lock = threading.RLock()
        self._carry = carry
        self._carrier = ThreadPoolExecutor(1, "aws-network")
        self.reset()

    def reset(self) -> None:
        """Begin anew: nothing is there, everything is allowed."""
        with self._lock:
            for backend in list(self._backends.values()):
                backend.reset()
            self.account = Account(ACCESS_KEY)
            self._told: Cloud | None = None
            self._last: Future[None] | None = None
            self._changes: list[_Change] = []
            self._tokens: dict[tuple[str, str, str], tuple[dict[str, str], _Answer]] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one call."""
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        carried: Future[None] | None = None
        try:
            with self._lock:
                call = self._read(environ, raw)
                self._advance()
                answer = self._answer(call, environ)
                if not call.action.startswith("Describe"):
                    carried = self._hand_over(call)
            if carried is not None:
                wait([carried], CARRY_S)
                if carried.done() and (problem := carried.exception()) is not None:
                    answer = _refused(RefusalError("InternalError", f"the network: {problem}", 500))
        except RefusalError as refusal:
            answer = _refused(refusal)
        start_response(answer.status, [*answer.headers, ("Content-Length", str(len(answer.body)))])
        return [answer.body]

    def cloud(self) -> Cloud:
        """The state of all regions as the network is to carry it."""
        with self._lock:
            return compiled(dict(self._backends))

    # One call

    def _read(self, environ: WSGIEnvironment, raw: bytes) -> Call:
        given = dict(parse_qsl(raw.decode(), keep_blank_values=True))
        signed = environ.get("HTTP_AUTHORIZATION", "")
        scope = signed.partition("Credential=")[2].partition(",")[0].split("/")
        if len(scope) < 5 or "Action" not in given:
            raise RefusalError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        key, region = scope[0], scope[2]
        if key != self.account.access_key or region not in _regions():
            # Errors, AuthFailure: also for a region that the account has not
            raise RefusalError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
        if self.account.expired:
            raise RefusalError("RequestExpired", "Request has expired.", 400)
        if given["Action"] in self.account.denied:
            raise RefusalError("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
        return Call(given["Action"], region, given, self._region(region), self.account)

    def _region(self, region: str) -> Any:
        from moto.ec2.models.amis import Ami

        backend = self._backends[region]
        if not any(image.owner_id == DEBIAN for image in backend.amis.values()):
            for name, architecture, made in IMAGES:
                identifier = f"ami-{hashlib.sha256(f'{region}/{name}'.encode()).hexdigest()[:17]}"
                backend.amis[identifier] = Ami(
                    backend,
                    identifier,
                    name=name,
                    owner_id=DEBIAN,
                    public=True,
                    virtualization_type="hvm",
                    architecture=architecture,
                    creation_date=made,
                    root_device_type="ebs",
                    root_device_name="/dev/xvda",
                    region_name=f"{region}a",
                )
        return backend

    def _answer(self, call: Call, environ: WSGIEnvironment) -> _Answer:
        """API Reference, "Ensuring idempotency": a token's second use gets the first answer; other parameters: none."""
        token = (call.region, call.action, call.get("ClientToken"))
        if not token[2]:
            return self._carried_out(call, environ)
        asked = dict(call.given)
        before, answer = self._tokens.get(token, (asked, None))
        if before != asked:
            raise RefusalError("IdempotentParameterMismatch", "The client token belongs to other parameters.")
        if answer is None:
            answer = self._carried_out(call, environ)
            if answer.status.startswith("200"):
                self._tokens[token] = (asked, answer)
        return answer

    def _carried_out(self, call: Call, environ: WSGIEnvironment) -> _Answer:
        from moto.ec2.exceptions import EC2ClientError

        try:
            rules.BEFORE.get(call.action, rules.nothing)(call)
        except EC2ClientError as error:  # moto's own words for what it does not find
            raise RefusalError(error.code, error.message) from error
        if call.action == "AllocateAddress":
            call.given["Address"] = self._public_address()
        kept = list(self._keep_interfaces(call)) if call.action == "TerminateInstances" else []
        states = {each: each.state for each in rules.instances(call.backend)}
        answer = self._forwarded(call, environ)
        for eni, goes in kept:
            eni.delete_on_termination = goes
        if answer.status.startswith("200"):
            rules.AFTER.get(call.action, rules.nothing)(call)
            if call.action == "RunInstances":
                rules.after_run_instances(call, [one for one in rules.instances(call.backend) if one not in states])
        if call.action in LIFECYCLE:
            self._set_out(call, states)
        return answer

    def _forwarded(self, call: Call, environ: WSGIEnvironment) -> _Answer:
        body = urlencode(call.given).encode()
        seen: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _problem: Any = None) -> Callable[[bytes], object]:
            seen[:] = [status, [each for each in headers if each[0].lower() != "content-length"]]
            return lambda _data: None

        asked = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        told = b"".join(self._moto(asked, start))
        return _Answer(seen[0], seen[1], told)

    def _public_address(self) -> str:
        used = {each.public_ip for backend in self._backends.values() for each in backend.addresses}
        for address in BLOCKS["aws"].hosts():
            if str(address) not in used:
                return str(address)
        raise RefusalError("InsufficientAddressCapacity", "the emulated cloud has no public address left")

    # What takes time

    def _keep_interfaces(self, call: Call) -> Iterator[tuple[Any, bool]]:
        """Interfaces stay until their instance is terminated; moto would remove them now."""
        for instance in rules.instances(call.backend):
            if instance.id in call.listed("InstanceId"):
                for eni in instance.nics.values():
                    yield eni, eni.delete_on_termination
                    eni.delete_on_termination = False

    def _set_out(self, call: Call, before: dict[Any, str]) -> None:
        """EC2 User Guide, "Instance lifecycle": the states on the way."""
        on_the_way = {
            "running": ("pending", "running"),
            "stopped": ("stopping", "stopped"),
            "terminated": ("shutting-down", "terminated"),
        }
        for instance in rules.instances(call.backend):
            if instance.state == before.get(instance) or instance.state not in on_the_way:
                continue
            way, end = on_the_way[instance.state]
            if end == "terminated" and before.get(instance) == "shutting-down":
                end = ""  # it is on its way already
            _put(instance, way)
            reason = ""
            if call.action == "RunInstances" and self.account.fails_to_start:
                reason, self.account.fails_to_start, end = self.account.fails_to_start, "", "terminated"
            if end:
                self._changes = [each for each in self._changes if each.instance is not instance]
                self._changes.append(_Change(call.backend, instance, end, time.monotonic() + CHANGE_S, reason=reason))

    def _advance(self) -> None:
        """Instances whose time has come, and that the network carries, change their state."""
        now = time.monotonic()
        for change in [each for each in self._changes if each.not_before <= now]:
            if change.carried is None or not change.carried.done():
                continue
            self._changes.remove(change)
            state, problem = change.state, change.carried.exception()
            if problem is not None and state == "running":
                state, change.reason = "terminated", f"Server.InternalError: the network: {problem}"
            _put(change.instance, state)
            if change.reason:
                code = change.reason.partition(":")[0]
                change.instance.state_reason.code, change.instance.state_reason.message = code, change.reason
            if state == "terminated":
                _bury(change.backend, change.instance)
                self._submit()

    def _hand_over(self, call: Call) -> Future[None] | None:
        """Have the network carry it; what the caller waits for."""
        carried = self._submit()
        for change in self._changes:
            change.carried = change.carried or carried
        return None if call.action in LIFECYCLE else carried

    def _submit(self) -> Future[None]:
        cloud = compiled(dict(self._backends))
        if cloud != self._told or self._last is None:
            self._told = cloud
            self._last = self._carrier.submit(self._carry, cloud)
            self._last.add_done_callback(_log)
        return self._last


@dataclass
class _Answer:
    status: str
    headers: list[tuple[str, str]]
    body: bytes


def _refused(refusal: RefusalError) -> _Answer:
    """EC2 API Reference, "Error codes": how an error is told."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
        "</Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>"
    )
    return _Answer(f"{refusal.status} Refused", [("Content-Type", "text/xml;charset=UTF-8")], body.encode())


def _log(carried: Future[None]) -> None:
    if (problem := carried.exception()) is not None:
        logging.getLogger(__name__).error("the network does not carry it: %s", problem, exc_info=problem)


def _regions() -> set[str]:
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    return set(RegionsAndZonesBackend.zones)


def _put(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, CODES[state]  # noqa: SLF001


def _bury(backend: Any, instance: Any) -> None:
    """EC2 User Guide, "Terminate Amazon EC2 instances": its interfaces are deleted or detached, its volumes deleted."""
    for eni in list(instance.nics.values()):
        eni.instance, eni.attachment_id, eni.attach_time, eni.status = None, None, None, "available"
        if eni.delete_on_termination and eni.id in backend.enis:
            eni.delete()
    instance.nics = _Nothing()
    instance.teardown_defaults()
    rules.free_addresses(backend)


class _Nothing(dict[int, Any]):
    """The interfaces of an instance that has none, for moto, which asks the first one for its address."""

    def __missing__(self, _index: int) -> Any:
        return SimpleNamespace(private_ip_address="", public_ip=None)


# What the network is to carry


def compiled(backends: dict[str, Any]) -> Cloud:
    """The state of all regions in the words of all providers. Default VPCs that nobody uses are left out."""
    domains, segments, nics, servers = [], [], [], []
    for _region, backend in sorted(backends.items()):
        used = {eni.vpc_id for eni in backend.enis.values()}
        for vpc in backend.vpcs.values():
            if vpc.is_default and vpc.id not in used:
                continue
            blocks = [IPv4Network(each["cidr_block"]) for each in vpc.get_cidr_block_association_set()]
            domains.append(Domain(vpc.id, tuple(blocks), internet=rules.attached(backend, vpc.id) is not None))
        kept = {domain.name for domain in domains}
        segments += [_segment(backend, each) for each in _subnets(backend) if each.vpc_id in kept]
        nics += [_nic(backend, eni) for eni in backend.enis.values()]
        servers += [_server(each) for each in rules.instances(backend) if each.state not in rules.DEAD]
    return Cloud(tuple(domains), tuple(segments), tuple(nics), tuple(servers))


def _subnets(backend: Any) -> Iterator[Any]:
    for of_zone in backend.subnets.values():
        yield from of_zone.values()


def _segment(backend: Any, subnet: Any) -> Segment:
    """VPC User Guide, "Subnet route tables": the table of its own, else the VPC's main one."""
    tables = [each for each in backend.route_tables.values() if each.vpc_id == subnet.vpc_id]
    own = [each for each in tables if subnet.id in each._associations.values()]  # noqa: SLF001
    main = [each for each in tables if each.main_association_id]
    routes = [
        Route(IPv4Network(each.destination_cidr_block), _via(each))
        for table in (own or main)[:1]
        for each in table.routes
        if each.destination_cidr_block and not each.local
    ]
    network = IPv4Network(subnet.cidr_block)
    return Segment(subnet.id, subnet.vpc_id, network, network.network_address + 1, tuple(routes))


def _via(route: Any) -> IPv4Address | str:
    if rules.blackhole(route) == "blackhole":
        return NOWHERE
    if route.interface is not None:
        return IPv4Address(route.interface.private_ip_address)
    if route.instance is not None:
        return IPv4Address(route.instance.nics[0].private_ip_address)
    return INTERNET if str(getattr(route.gateway, "id", "")).startswith("igw-") else NOWHERE


def _nic(backend: Any, eni: Any) -> Nic:
    """An interface's groups are one list: what one of them admits is admitted (VPC User Guide, "Security groups")."""
    attached = eni.instance is not None and eni.instance.state not in rules.DEAD
    public = next((each for each in backend.addresses if each.eni is not None and each.eni.id == eni.id), None)
    groups = sorted(eni.group_set, key=lambda group: str(group.id))
    unchecked = () if eni.source_dest_check else (ANYWHERE,)
    return Nic(
        name=eni.id,
        segment=eni.subnet.id,
        address=IPv4Address(eni.private_ip_address),
        server=eni.instance.id if attached else "",
        interface=f"ens{5 + int(eni.device_index or 0)}",
        inbound=(tuple(rule for group in groups for each in group.ingress_rules for rule in _rules(backend, each)),),
        outbound=(tuple(rule for group in groups for each in group.egress_rules for rule in _rules(backend, each)),),
        sends=unchecked,
        receives=unchecked,
        public=IPv4Address(public.public_ip) if public is not None else None,
    )


def _rules(backend: Any, rule: Any) -> Iterator[Rule]:
    number = {"tcp": 6, "udp": 17, "icmp": 1, "-1": None}.get(rule.ip_protocol, -1)
    protocol = int(rule.ip_protocol) if number == -1 else number
    ports = (int(rule.from_port), int(rule.to_port)) if protocol in {6, 17} else None
    if cidr := rule.ip_range.get("CidrIp"):
        yield Rule(True, IPv4Network(cidr, strict=False), protocol, ports)
    if group := rule.source_group.get("GroupId"):
        for eni in backend.enis.values():
            if group in [each.id for each in eni.group_set]:
                yield Rule(True, IPv4Network(eni.private_ip_address), protocol, ports)


def _server(instance: Any) -> Server:
    label = next((tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"), "")
    data = base64.b64decode(instance.user_data.as_bytes()) if instance.user_data else b""
    return Server(instance.id, label, instance.state in {"pending", "running"}, data)
