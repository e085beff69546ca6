"""The hypervisor and the agents of the emulated OpenStack: a process that carries out what Nova and Neutron tell it.

    python -m proactive_tasks.lab.cloud.openstack.hypervisor LAB SOCKET [--no-machines]

Each connection to the socket brings one line of JSON: Neutron's whole state, or Nova's servers. Neutron gets its answer
at once; Nova when what it told is carried out, or why it cannot be. Nothing is polled.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proactive_tasks.lab import files
from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.openstack.emulator import fabric
from proactive_tasks.lab.cloud.openstack.state import compiled

CARRY_S = 240.0
TOLD = "told.json"


class Hypervisor:
    """Carries out the newest state, whoever told of it; what came while it was at work is done in one go."""

    def __init__(self, carry: Carry, record: Path) -> None:
        self._carry, self._record = carry, record
        self._told: dict[str, Any] = {"network": {}, "servers": []}
        self._changed = threading.Condition()
        self._number = self._done = 0
        self._fault = ""
        threading.Thread(target=self._work, daemon=True).start()

    def tell(self, message: Mapping[str, Any]) -> str:
        """Take a message; what went wrong, or nothing."""
        with self._changed:
            self._told = {**self._told, **message}
            self._number += 1
            number = self._number
            self._changed.notify_all()
            if "servers" not in message:
                return ""
            if not self._changed.wait_for(lambda: self._done >= number, CARRY_S):
                return f"not carried out within {CARRY_S:.0f} s"
            return self._fault

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._done < self._number)
                number, told = self._number, self._told
            fault = ""
            try:
                files.write(self._record, told)
                self._carry(compiled(told["network"], told["servers"]))
            except Exception as error:  # noqa: BLE001 - Nova gets to know, and the next change may do better
                traceback.print_exc()
                fault = f"{type(error).__name__}: {error}"
            with self._changed:
                self._done, self._fault = number, fault
                self._changed.notify_all()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


def serve(path: str, hypervisor: Hypervisor) -> None:
    """Serve the socket for as long as the process lives."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline()
            if line:
                self.wfile.write(hypervisor.tell(json.loads(line)).encode())

    Path(path).unlink(missing_ok=True)
    with _Server(path, Handler) as server:
        server.serve_forever()


def main() -> None:
    """See above."""
    lab, path, *rest = sys.argv[1:]
    carry: Carry = lambda _cloud: None  # noqa: E731
    if "--no-machines" not in rest:
        carry = fabric(lab).apply
    serve(path, Hypervisor(carry, Path(path).with_name(TOLD)))


if __name__ == "__main__":
    main()
