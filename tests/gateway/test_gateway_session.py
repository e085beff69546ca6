"""The controller's side of a connection, against an SSH server that does as little as the test wants."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proactive_tasks.gateway import session
from proactive_tasks.overlay.errors import GatewayUnreachableError

ADDRESS = IPv4Address("198.18.0.1")


class Stuck(paramiko.ServerInterface):
    """Lets everybody in, and does not answer the request to run something."""

    def __init__(self):
        self.ended = threading.Event()

    def get_allowed_auths(self, *_):
        return "publickey"

    def check_auth_publickey(self, *_):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, *_):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, *_):
        self.ended.wait(600)
        return False


@pytest.fixture
def key(tmp_path):
    made = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(made)
    return paramiko.Ed25519Key(filename=str(tmp_path / "key"))


def test_a_gateway_that_lets_in_but_runs_nothing_is_given_up(key, monkeypatch):
    monkeypatch.setattr(session, "_HANDSHAKE_S", 3.0)
    ours, theirs = socket.socketpair()
    stuck, server = Stuck(), paramiko.Transport(theirs)
    server.add_server_key(key)
    server.start_server(event=threading.Event(), server=stuck)
    try:
        with pytest.raises(GatewayUnreachableError, match=r"198\.18\.0\.1: the connection broke"):
            session.connect(lambda *_: ours, ADDRESS, key, [f"{key.get_name()} {key.get_base64()}"], 60)
    finally:
        stuck.ended.set()
        server.close()
