"""Tells the lab's hypervisor what Nova and Neutron have been told. Runs in the control plane's environment."""

import json
import os
import socket

HYPERVISOR = "OVERLAY_LAB_HYPERVISOR"
ANSWER_S = 300


def tell(**what):
    """Send one message and wait for the answer; a RuntimeError says what the hypervisor could not do."""
    path = os.environ.get(HYPERVISOR, "")
    if not path:
        return  # the first installation: there is no hypervisor yet
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(path)
        connection.sendall(json.dumps(what, default=str).encode() + b"\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    if answer:
        raise RuntimeError(f"the lab's hypervisor: {answer.decode()}")
