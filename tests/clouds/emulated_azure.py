"""Our ARM emulator behind a proxy that counts and troubles, and what a site of it is asked for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from proactive_tasks.clouds.azure.calls import Patience
from proactive_tasks.clouds.azure.driver import AzureProvider
from proactive_tasks.clouds.provider import GatewayFacts, GatewayOrder, Journal, NoJournal
from proactive_tasks.lab.cloud.azure.emulator import Arm, environment
from proactive_tasks.lab.cloud.azure.state import Limits, Thing
from proactive_tasks.lab.cloud.model import Cloud
from proactive_tasks.overlay.model import Origin, Site
from proactive_tasks.store import Store
from tests.clouds.trouble import Request, Trouble, trouble

SHORT = Patience(backoff_s=0.01, backoff_max_s=0.05, poll_s=0.01, read_s=30, step_s=60, operation_s=30)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqJ0yr1DY3uZ2B8mPXg4bUzTk5r2Jt0hNq9G0gJtV5c"
DATA = b"#cloud-config\nruncmd: [secret-word]\n"
SITE = Site("paris", "azure", "westeurope", Origin.FILE, 0, 512, IPv4Network("10.2.0.0/24"), 4_200_000_512)
ORDER = GatewayOrder("presto", SITE, DATA, (IPv4Network("10.0.0.0/8"),), (IPv4Network("203.0.113.7/32"),), ssh_key=KEY)
LOCATION = "westeurope"


def site(**changes: Any) -> Site:
    """The site, with something else."""
    return replace(SITE, **changes)


def order(of: Site = SITE, **changes: Any) -> GatewayOrder:
    """What is wanted of it."""
    return replace(ORDER, **{"site": of, **changes})


@dataclass
class Azure:
    """One emulated cloud and a driver."""

    app: Arm
    trouble: Trouble
    driver: AzureProvider = field(default_factory=lambda: AzureProvider(SHORT))
    carried: list[Cloud] = field(default_factory=list)

    def deploy(self, of: GatewayOrder = ORDER, journal: Journal | None = None) -> GatewayFacts:
        """As `provision_gateway` does it: user-data only for a gateway that is not there."""
        facts = self.driver.facts(of.overlay, of.site)
        wanted = replace(of, user_data=of.user_data if facts.gateway is None else b"")
        return self.driver.apply(wanted, facts, journal or NoJournal(), lambda _line: None)

    def plan(self, of: GatewayOrder = ORDER) -> list[str]:
        """The lines of the difference."""
        return [change.line for change in self.driver.difference(of, self.driver.facts(of.overlay, of.site))]

    def release(self, of: Site = SITE, journal: Journal | None = None) -> list[str]:
        """Remove the site."""
        return self.driver.release("presto", of, journal or NoJournal(), lambda _line: None)

    def names(self) -> list[str]:
        """Everything that the cloud holds, in short."""
        return sorted(f"{thing.kind.rsplit('/', 1)[-1]} {thing.name}" for thing in self.app.state.things.values())

    def thing(self, kind: str, name: str) -> Thing:
        """One resource."""
        return next(t for t in self.app.state.things.values() if t.kind.endswith(kind) and t.name == name)

    def calls(self) -> list[Request]:
        """The calls so far, polls apart, which are then forgotten."""
        made = [call for call in self.trouble.calls if not polls(call)]
        self.trouble.calls.clear()
        return made

    def writes(self) -> list[str]:
        """The writing calls so far: method and what was written; then they are forgotten."""
        return [
            f"{call.method} {'/'.join(call.path.split('?')[0].split('/')[-2:])}"
            for call in self.calls()
            if call.method != "GET"
        ]


def polls(call: Request) -> bool:
    """Whether a call only asks how far a long-running operation is."""
    return "/operations/" in call.path or "/operationResults/" in call.path


class Prompt(WSGIRequestHandler):
    """Answers without waiting between head and body."""

    disable_nagle_algorithm = True


@contextmanager
def azure(limits: Limits | None = None) -> Iterator[Azure]:
    """An emulated cloud on a free port of the loopback interface."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    carried: list[Cloud] = []
    app = Arm(carried.append, limits or Limits(delay_s=0.01))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Prompt)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        with trouble(f"http://127.0.0.1:{server.server_port}") as made:
            yield Azure(app, made, carried=carried)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


def work(what: str, url: str, store: str) -> None:
    """What a child does until it is killed; here, where nothing else is to be imported for it."""
    os.environ.update(environment(url))
    cloud = Azure(None, None)  # type: ignore[arg-type]
    journal = Store.open(store).journal("presto", "paris", "child")
    if what == "provision":
        cloud.deploy(journal=journal)
    else:
        cloud.release(journal=journal)
