"""What the controller asks of a gateway, carried out on the gateway.

The controller's session sends this file, and the modules it imports, over one SSH channel into `python3`; nothing is
left on the gateway. Then each line on standard input is a request {"op", "limit_s", "arguments"} and each line on
standard output its answer: {"result"} or {"error", "kind"}. Standard library only; Python 3.11.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from proactive_tasks.gateway import interfaces
from proactive_tasks.gateway.bundle import Change
from proactive_tasks.gateway.machine import Machine, RefusedError
from proactive_tasks.probes import echo

_KEY = "/etc/overlay/pki/key.pem"
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_NEXT_HOST_KEY = "/etc/ssh/.overlay_next_host_key"
_CLOUD_INIT_RESULT = "/run/cloud-init/result.json"
_CLOUD_INIT_LOG = "/var/log/cloud-init-output.log"
_PROGRAMS = ("/usr/sbin/openvpn", "/usr/sbin/bird", "/usr/sbin/nft", "/usr/bin/openssl", "/usr/sbin/tc")
_ALGORITHMS = {
    "ecdsa": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"),
}

Operation = Callable[..., Any]


class Agent:
    """The table of operations. Each public method is one; its keyword arguments are those of the request."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def first_boot(self) -> dict[str, Any]:
        """The programs that a gateway needs and that are not installed (yet), and whether cloud-init is through."""
        missing = [name for name in _PROGRAMS if not self.machine.path(name).exists()]
        through = self.machine.path(_CLOUD_INIT_RESULT).exists()
        return {"missing": missing, "through": through, "log": self.machine.tail(_CLOUD_INIT_LOG) if missing else ""}

    def make_key(self, site: str, algorithm: str) -> str:
        """The gateway's private key, made if there is none, and a request for a certificate of `site`, PEM."""
        key = self.machine.path(_KEY)
        if not key.exists():
            key.parent.mkdir(parents=True, exist_ok=True)
            key.parent.chmod(0o755)
            made = self.machine.run("openssl", "genpkey", *_ALGORITHMS[algorithm])
            self.machine.write(_KEY, made, 0o600)
        return self.machine.run("openssl", "req", "-new", "-sha256", "-key", str(key), "-subj", f"/CN={site}")

    def prepare_host_key(self) -> str:
        """A new SSH host key beside the present one; its public line. A second call gives the same."""
        fresh = self.machine.path(_NEXT_HOST_KEY)
        if not fresh.exists():
            making = fresh.with_name(fresh.name + ".making")
            for leftover in (making, making.with_name(making.name + ".pub")):
                leftover.unlink(missing_ok=True)
            self.machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(making))
            making.with_name(making.name + ".pub").unlink()
            making.replace(fresh)
        return self._public_line(_NEXT_HOST_KEY)

    def switch_host_key(self) -> str:
        """Put the prepared host key in place of the present one, which is lost; the public line now shown."""
        fresh = self.machine.path(_NEXT_HOST_KEY)
        if fresh.exists():
            public = self._public_line(_NEXT_HOST_KEY)
            fresh.replace(self.machine.path(_HOST_KEY))
            self.machine.write(_HOST_KEY + ".pub", public + "\n")
        for seeded in ("rsa", "ecdsa", "dsa"):
            self.machine.path(f"/etc/ssh/ssh_host_{seeded}_key").unlink(missing_ok=True)
        self.machine.systemctl("reload", "ssh.service")
        return self._public_line(_HOST_KEY)

    def interfaces(self, address: str, networks: list[str], lan: str, router: str) -> dict[str, Any]:
        """Which interfaces look where."""
        addresses = json.loads(self.machine.run("ip", "-json", "-4", "address", "show"))
        defaults = json.loads(self.machine.run("ip", "-json", "-4", "route", "show", "default"))
        return interfaces.placed(addresses, defaults, address, networks, lan=lan, router=router)

    def difference(self, bundle: dict[str, Any]) -> list[str]:
        """What `apply` would do, a line each."""
        return Change(self.machine, bundle).difference().lines()

    def apply(self, bundle: dict[str, Any], phase: int) -> dict[str, Any]:
        """Carry a change out; in phase 1 without the dialers. One that would lock its own controller out is refused."""
        from ipaddress import ip_address, ip_network  # here, since every session starts with this file

        here = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
        if here and not any(ip_address(here) in ip_network(known) for known in bundle["controllers"]):
            raise RefusedError(
                f"nothing was changed: SSH would no longer be admitted from {here}, where this controller is; "
                "add it to 'controllers' in the specification"
            )
        return Change(self.machine, bundle, phase).apply()

    def reach(self, targets: list[str], source: str, deadline_s: float) -> dict[str, float | None]:
        """Milliseconds until each target first answers."""
        with echo.open_echo(source) as sock:
            return echo.first_answers(sock, targets, deadline_s)

    def probe(self, target: str, source: str, count: int, interval_s: float) -> list[float | None]:
        """Round-trip times in milliseconds, None for each echo that was lost."""
        with echo.open_echo(source) as sock:
            return echo.round_trips(sock, target, count, interval_s)

    def path_mtu(self, target: str, source: str, high: int) -> int | None:
        """Bytes of the largest packet that gets through unfragmented."""
        with echo.open_echo(source) as sock:
            return echo.path_mtu(sock, target, high=high)

    def tunnels(self, units: dict[str, str]) -> dict[str, dict[str, Any]]:
        """By interface: state of the unit, of the BGP session and of link detection. `units` maps unit to interface."""
        states, sessions = self.machine.units(units), self.machine.sessions()
        lines = [line.split() for line in self.machine.bird("show bfd sessions")]
        detection = {words[1]: words[2] for words in lines if len(words) > 4}
        return {
            interface: {
                "unit": states[unit].get("ActiveState", ""),
                "status": states[unit].get("StatusText", ""),
                "bgp": sessions.get(interface, {}).get("state", ""),
                "since": sessions.get(interface, {}).get("since", ""),
                "bfd": detection.get(interface, ""),
            }
            for unit, interface in units.items()
        }

    def established(self) -> list[str]:
        """Interfaces of the links that carry traffic."""
        return sorted(self.machine.established())

    def routes(self) -> dict[str, dict[str, Any]]:
        """By prefix: the interface that carries it now, and the AS numbers on its way."""
        found: dict[str, dict[str, Any]] = {}
        prefix = ""
        for line in self.machine.bird("show route primary all"):
            words = line.split()
            if words and "/" in words[0] and words[0][0].isdigit():
                prefix = words[0]
                found[prefix] = {"interface": "", "path": []}
            elif prefix and line.strip().startswith("via "):
                found[prefix]["interface"] = words[-1]
            elif prefix and words[:1] == ["BGP.as_path:"]:
                found[prefix]["path"] = [int(word) for word in words[1:] if word.isdigit()]
        return found

    def _public_line(self, name: str) -> str:
        return " ".join(self.machine.run("ssh-keygen", "-y", "-f", str(self.machine.path(name))).split()[:2])


def serve(agent: Agent, requests: TextIO, answers: TextIO) -> None:
    """Answer requests, one line each, until there are none."""
    signal.signal(signal.SIGALRM, _overdue)
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
        try:
            answer = {"result": getattr(agent, request["op"])(**request["arguments"])}
        except (RefusedError, OSError, ValueError) as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _overdue(*_: object) -> None:
    raise TimeoutError("not done within the deadline")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def main() -> None:
    """Serve standard input."""
    os.environ["PATH"] = _path()
    os.umask(0o022)
    serve(Agent(Machine()), sys.stdin, sys.stdout)
