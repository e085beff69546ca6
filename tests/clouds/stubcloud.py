"""A cloud with an API of three calls, to try what serves the real emulators."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.model import ANYWHERE, INTERNET, Cloud, Domain, Nic, Route, Segment, Server

NET = IPv4Network("10.9.0.0/24")


def make_app(carry: Carry) -> Any:
    """`GET /` lists the servers, `PUT /NAME` makes one with the next address, `DELETE /NAME` removes it."""
    servers: dict[str, int] = {}

    def cloud() -> Cloud:
        segment = Segment("net", "net", NET, NET[1], (Route(ANYWHERE, INTERNET),))
        nics = [
            Nic(name, "net", NET[9 + number], server=f"id-{name}", public=IPv4Address("192.0.2.0") + number)
            for name, number in servers.items()
        ]
        made = [Server(f"id-{name}", name) for name in servers]
        return Cloud((Domain("net", (NET,), internet=True),), (segment,), tuple(nics), tuple(made))

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/")
        if environ["REQUEST_METHOD"] == "PUT":
            servers[name] = len(servers) + 1
            carry(cloud())
        elif environ["REQUEST_METHOD"] == "DELETE":
            servers.pop(name)
            carry(cloud())
        body = json.dumps(servers).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return app


def environment(url: str) -> dict[str, str]:
    """How it is found."""
    return {"STUB_URL": url, "STUB_TOKEN": "it's a stub"}
