"""SSH to emulated servers goes by a proxy, which leads there and nowhere else."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.clouds.dialing import PROXY, dial
from proactive_tasks.lab import Lab, labs
from proactive_tasks.lab.cloud import proxy
from proactive_tasks.lab.cloud.fabric import Fabric
from proactive_tasks.lab.cloud.model import ANYWHERE, INTERNET, Cloud, Domain, Nic, Route, Segment, Server
from proactive_tasks.lab.cloud.proxy import REACHED, RefusedError, target
from proactive_tasks.lab.names import CloudNames
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.errors import InputError

HERE = IPv4Address("192.0.2.77")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT 192.0.2.1:22 HTTP/1.1", None),
        ("CONNECT 198.51.100.255:65535 HTTP/1.0", None),
        ("CONNECT 198.18.0.2:443 HTTP/1.1", None),
        ("CONNECT 192.0.3.1:22 HTTP/1.1", 403),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", 403),
        ("CONNECT 10.1.0.254:22 HTTP/1.1", 403),
        ("CONNECT 198.19.0.1:22 HTTP/1.1", 403),
        ("CONNECT localhost:22 HTTP/1.1", 403),
        ("CONNECT [::1]:22 HTTP/1.1", 403),
        ("CONNECT 192.0.2.1:0 HTTP/1.1", 400),
        ("CONNECT 192.0.2.1:65536 HTTP/1.1", 400),
        ("CONNECT 192.0.2.1: HTTP/1.1", 400),
        ("CONNECT 192.0.2.1:\u0662 HTTP/1.1", 400),
        ("GET http://192.0.2.1/ HTTP/1.1", 405),
        ("CONNECT 192.0.2.1:22", 400),
        ("SSH-2.0-OpenSSH_9.2", 400),
        ("", 400),
    ],
)
def test_it_leads_to_emulated_public_addresses_only(line: str, status: int | None) -> None:
    head = f"{line}\r\nHost: whatever\r\n\r\n".encode()
    if status is None:
        address, port = target(head)
        assert f"{address}:{port}" in line
    else:
        with pytest.raises(RefusedError, match=f"^{status} "):
            target(head)


@given(st.binary(max_size=80))
def test_no_request_leads_anywhere_else(head: bytes) -> None:
    try:
        address, port = target(head)
    except RefusedError:
        return
    assert any(address in block for block in REACHED)
    assert 0 < port < 65536


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_an_address_is_reached_when_it_is_an_emulated_one(address: IPv4Address, port: int) -> None:
    head = f"CONNECT {address}:{port} HTTP/1.1\r\n\r\n".encode()
    if any(address in block for block in REACHED):
        assert target(head) == (address, port)
    else:
        with pytest.raises(RefusedError, match=r"^403 "):
            target(head)


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """A server at a public address that sends back what it gets at port 22, and a proxy."""
    if missing():
        pytest.skip(f"no lab here; it lacks {'; '.join(missing())}")
    for other in labs():
        stem, _, pid = other.rpartition("-")
        if stem == "fabric-p" and pid.isdigit() and not Path("/proc", pid).exists():
            Lab(other).destroy()
    name = f"fabric-p-{os.getpid()}"
    net = Segment("net", "net", IPv4Network("10.8.0.0/24"), IPv4Address("10.8.0.1"))
    try:
        fabric = Fabric(name, "aws")
        fabric.apply(
            Cloud(
                (Domain("net", (net.network,), internet=True),),
                (Segment(net.name, net.domain, net.network, net.router, (Route(ANYWHERE, INTERNET),)),),
                (Nic("nic", "net", IPv4Address("10.8.0.9"), server="i-1", public=HERE),),
                (Server("i-1", "echo"),),
            )
        )
        with closing(socket_in(CloudNames(name, "aws").server("i-1").namespace)) as listener:
            listener.bind(("10.8.0.9", 22))
            listener.listen()
            threading.Thread(target=echo, args=(listener,), daemon=True).start()
            with socket.socket() as trial:
                trial.bind(("127.0.0.1", 0))
                port = trial.getsockname()[1]
            proxy.daemon(name).start(port)
            yield name
            listener.shutdown(socket.SHUT_RDWR)
    finally:
        Lab(name).destroy()
    assert Lab(name).leftovers() == []


def echo(listener: socket.socket) -> None:
    """To each client: all that it sends, back, then the end."""
    while True:
        try:
            client = listener.accept()[0]
        except OSError:
            return
        with client:
            while data := client.recv(65536):
                client.sendall(data)


def received(connection: socket.socket) -> bytes:
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def test_dialling_by_the_proxy_carries_bytes_both_ways_and_each_end(lab, monkeypatch):
    monkeypatch.setenv(PROXY, proxy.environment(lab)[PROXY])
    sent = os.urandom(300_000)
    with dial(HERE, 22, 5.0) as one, dial(HERE, 22, 5.0) as other:
        threading.Thread(target=lambda: (one.sendall(sent), one.shutdown(socket.SHUT_WR))).start()
        other.sendall(b"hello")
        other.shutdown(socket.SHUT_WR)
        assert received(other) == b"hello"
        assert received(one) == sent


@pytest.mark.parametrize(
    ("address", "port", "answer"),
    [("192.0.2.77", 23, "502 .*refused"), ("192.0.2.99", 22, "502 .*"), ("10.8.0.9", 22, "403 .*neither")],
)
def test_what_the_proxy_refuses_is_an_error_that_may_be_tried_again(lab, monkeypatch, address, port, answer):
    monkeypatch.setenv(PROXY, proxy.environment(lab)[PROXY])
    with pytest.raises(ConnectionRefusedError, match=answer):
        dial(IPv4Address(address), port, 5.0)


def test_a_proxy_that_is_not_there_is_told(monkeypatch):
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        monkeypatch.setenv(PROXY, f"http://127.0.0.1:{trial.getsockname()[1]}")
        with pytest.raises(ConnectionRefusedError):
            dial(HERE, 22, 5.0)


@pytest.mark.parametrize("url", ["127.0.0.1:4600", "https://127.0.0.1:1", "http://127.0.0.1", "http://[:1", "x"])
def test_what_is_no_proxy_is_refused(monkeypatch, url):
    monkeypatch.setenv(PROXY, url)
    with pytest.raises(InputError, match=PROXY):
        dial(HERE, 22, 5.0)


def test_without_a_proxy_it_goes_straight_there(monkeypatch):
    monkeypatch.delenv(PROXY, raising=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        dial(IPv4Address("127.0.0.1"), server.getsockname()[1], 5.0) as connection,
    ):
        accepted = server.accept()[0]
        accepted.sendall(b"SSH")
        accepted.close()
        assert received(connection) == b"SSH"
