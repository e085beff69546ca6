"""A host with other work: looked at, made ready to be a gateway, and left as it was. Runs on the host.

Standard library only. The driver sends this file, and the machine's, over one SSH channel into `python3`. What the host
had before is kept on the host itself, in /etc/overlay/before.json, written before anything is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from proactive_tasks.gateway.machine import Machine, RefusedError

BEFORE = "/etc/overlay/before.json"
OTHERS = "/etc/overlay/others.nft"
MARK = "overlay-gateway"
_FOLDERS = ("/etc/overlay", "/run/overlay")
_BIRD = "/etc/bird/bird.conf"
_MASK = "/etc/systemd/system/bird.service"
_SYSCTL = "/etc/sysctl.d/60-overlay.conf"
_UNITS = "/etc/systemd/system"
_PER_INTERFACE = ("forwarding", "rp_filter", "accept_redirects", "send_redirects")
_TOLD = re.compile(r"^(Get:|Unpacking |Setting up |E: |Err:)")


class Host:
    """The table of operations. Each public method is one; its keyword arguments are those of the request."""

    def __init__(self, machine: Machine, client: str = "") -> None:
        self.machine = machine
        self.client = client  # the controller's address, as this host sees it

    def facts(self, programs: list[str], ports: list[int]) -> dict[str, Any]:
        """All that decides whether this host can be a gateway, and what of an overlay is on it."""
        machine = self.machine
        before = machine.read_json(BEFORE)
        missing = [name for name in programs if not machine.path(name).exists()]
        return {
            "root": os.geteuid() == 0,
            "python": list(sys.version_info[:2]),
            "systemd": machine.path("/run/systemd/system").is_dir(),
            "apt": shutil.which("apt-get") is not None,
            "tun": _opens("/dev/net/tun"),
            "nftables": self._nftables(),
            "missing": missing,
            "free_mb": shutil.disk_usage(machine.path("/etc")).free >> 20,
            "addresses": self._ip("address", "show"),
            "routes": self._ip("route", "show", "table", "main"),
            "bird": self._bird() if not before else "",
            "refusing": self._refusing(),
            "listening": sorted(set(ports) & _udp_ports()) if not before else [],
            "talks_to": _partners() if not before else [],
            "ssh": self._sshd(),
            "settings": self._settings(),
            "before": {name: before.get(name) for name in ("overlay", "site", "key")} if before else None,
            "traces": self._traces(),
            "key": bool(before) and before.get("key", "") in self._authorized(),
            "flushed": self._flushed(),
        }

    def adopt(self, overlay: str, site: str, key: str, keys_file: str) -> str:
        """Keep what the host has, then let the overlay's key in. A second call changes nothing of what was kept."""
        machine, path = self.machine, _home(keys_file)
        line = f"restrict {key} {MARK} {overlay} {site}"
        before = machine.read_json(BEFORE)
        if not before:
            before = {
                "overlay": overlay,
                "site": site,
                "keys_file": str(path),
                "had_keys_file": path.exists(),
                "settings": self._settings(),
                "bird": _kept(machine.path(_BIRD)),
            }
        previous, before["key"] = before.get("key", ""), line
        machine.path("/etc/overlay").mkdir(parents=True, exist_ok=True)
        machine.write(BEFORE, json.dumps(before, indent=1), 0o600)
        if before["settings"].get("ipv4/ip_forward") == "0":
            # This host forwarded nothing. It now will, but nothing beyond what is the overlay's.
            machine.write(OTHERS, "add rule inet overlay others drop\n")
        wanted = [known for known in self._authorized(path) if known not in (line, previous)]
        self._authorize(path, [*wanted, line])
        return line

    def install(self, packages: list[str], limit_s: float) -> str:
        """Install packages; what apt-get tells on the way is told on. Debian's own BIRD is not started by that."""
        masked = self.machine.path(_MASK)
        if "bird2" in packages and not masked.is_symlink():
            masked.symlink_to("/dev/null")
        fresh = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}
        environment, end = {**os.environ, **fresh}, time.monotonic() + limit_s
        wait = "-oDPkg::Lock::Timeout=60"
        try:
            _followed(["apt-get", "-q", "update"], environment, end)
            _followed(["apt-get", "-qy", wait, "install", "--no-install-recommends", *packages], environment, end)
        finally:
            if masked.is_symlink() and str(masked.readlink()) == "/dev/null" and "bird2" in packages:
                masked.unlink()
                self.machine.disable("bird.service")
                self.machine.systemctl("daemon-reload")
        if problem := self._nftables():
            raise RefusedError(f"its kernel's nftables do not work: {problem}")
        return ", ".join(packages)

    def reload(self) -> str:
        """Load the overlay's firewall anew: somebody flushed it."""
        self.machine.systemctl("reload-or-restart", "overlay-firewall.service")
        return ""

    def leave(self) -> list[str]:
        """Remove everything of the overlay, and put back what was kept; the way in goes last. A line for each thing."""
        before = self.machine.read_json(BEFORE)
        done = self._leave_network() + self._restore(before.get("settings") or {})
        done += self._leave_files(before.get("bird"))
        keys = Path(before["keys_file"]) if before.get("keys_file") else _home(".ssh/authorized_keys")
        for folder in map(self.machine.path, _FOLDERS):
            if folder.exists():
                shutil.rmtree(folder)
                done.append(f"folder {folder}")
        lines = self._authorized(keys)
        if any(map(_is_ours, lines)):
            rest = [line for line in lines if not _is_ours(line)]
            self._authorize(keys, rest, keep=bool(rest) or before.get("had_keys_file", True))
            done.append("SSH key of the overlay")
        return done

    def _leave_network(self) -> list[str]:
        """Units stopped; routes, addresses and the firewall's table removed."""
        machine, units = self.machine, self._overlay_units()
        network = _text(machine.path(f"{_UNITS}/overlay-network.service")) or ""
        if running := [unit for unit in units if "@." not in unit]:
            machine.systemctl("stop", *running, timeout=60)
            machine.run("systemctl", "reset-failed", *running, check=False)
        done = [f"unit {unit}" for unit in units]
        for prefix in _FALLBACK.findall(network):
            if any(route["dst"] == prefix for route in self._ip("route", "show", "type", "unreachable")):
                machine.run("ip", "route", "del", "unreachable", prefix, "metric", "65535", check=False)
                done.append(f"route unreachable {prefix}")
        for address in _BORNE.findall(network):
            machine.run("ip", "address", "del", f"{address}/32", "dev", "lo", check=False)
            done.append(f"address {address}")
        machine.run("ip", "-4", "route", "flush", "proto", "bird", check=False)  # what a killed BIRD left
        if self._firewall():
            machine.run("nft", "delete", "table", "inet", "overlay")
            done.append("nftables table inet overlay")
        return done

    def _leave_files(self, bird: dict[str, Any] | None) -> list[str]:
        """Files and unit definitions removed, BIRD's own configuration put back."""
        machine, done = self.machine, []
        files = {*machine.read_json("/etc/overlay/manifest.json").get("files", ()), _SYSCTL}
        units = machine.path(_UNITS)
        paths = [*map(machine.path, sorted(files)), *units.glob("*/overlay-*"), *units.glob("overlay-*")]
        for path in dict.fromkeys(paths):
            for each in (path, path.with_name(path.name + ".overlay-old")):
                if each.exists() or each.is_symlink():
                    each.unlink()
                    done.append(f"file {each}")
        self._put_back(bird)
        machine.systemctl("daemon-reload")
        return done

    # What is there

    def _ip(self, *arguments: str) -> list[dict[str, Any]]:
        try:
            found = json.loads(self.machine.run("ip", "-json", "-4", *arguments, check=False) or "[]")
        except (RefusedError, ValueError):
            return []
        return [entry for entry in found if entry]

    def _nftables(self) -> str:
        """What nft says when it cannot work here; nothing when it can, or is not there yet to be asked."""
        if not shutil.which("nft"):
            return ""
        try:
            self.machine.run("nft", "list", "tables")
            self.machine.run("nft", "-c", "add", "table", "inet", "overlay")
        except RefusedError as error:
            return str(error)
        return ""

    def _firewall(self) -> bool:
        if not shutil.which("nft"):
            return False
        return "table inet overlay" in self.machine.run("nft", "list", "tables", check=False).splitlines()

    def _flushed(self) -> bool:
        """Whether the overlay's table is gone though its unit is active: somebody loaded a ruleset with a flush."""
        unit = "overlay-firewall.service"
        if not self.machine.path(f"{_UNITS}/{unit}").exists() or self._firewall():
            return False
        return self.machine.run("systemctl", "is-active", unit, check=False).strip() == "active"

    def _bird(self) -> str:
        """How the host uses BIRD itself; "" when it does not."""
        states = [self.machine.run("systemctl", verb, "bird.service", check=False).strip() for verb in _STATES]
        return next((state for state in states if state in {"active", "activating", "enabled"}), "")

    def _refusing(self) -> list[str]:
        """Base chains of others that drop by default and say nothing of the tunnels' interfaces."""
        if not shutil.which("nft"):
            return []
        try:
            listed = json.loads(self.machine.run("nft", "-j", "list", "ruleset", check=False) or "{}")
        except (RefusedError, ValueError):
            return []
        objects = listed.get("nftables", [])
        chains = [entry["chain"] for entry in objects if "chain" in entry]
        rules = [entry["rule"] for entry in objects if "rule" in entry]
        found = []
        for chain in chains:
            if chain.get("policy") != "drop" or chain.get("hook") not in {"input", "forward", "output"}:
                continue
            place = (chain["family"], chain["table"])
            if place == ("inet", "overlay") or chain["family"] not in {"ip", "inet"}:
                continue
            told = [json.dumps(rule) for rule in rules if (rule["family"], rule["table"]) == place]
            if not any('"link' in text for text in told):
                found.append(f"{chain['family']} {chain['table']} {chain['name']} ({chain['hook']})")
        return found

    def _sshd(self) -> dict[str, str]:
        """What sshd would do with root, coming from the controller."""
        where = f"user=root,host={self.client or 'localhost'},addr={self.client or '127.0.0.1'}"
        try:
            told = self.machine.run(shutil.which("sshd") or "/usr/sbin/sshd", "-T", "-C", where)
        except RefusedError:
            return {}
        wanted = {"permitrootlogin", "pubkeyauthentication", "authorizedkeysfile", "allowusers", "denyusers"}
        wanted |= {"allowgroups", "denygroups"}
        found: dict[str, str] = {}
        for line in told.splitlines():
            name, _, value = line.partition(" ")
            if name in wanted:
                found[name] = f"{found[name]} {value}" if name in found else value
        return found

    def _settings(self) -> dict[str, str]:
        """The kernel settings that an overlay touches, or that the kernel touches with them; by path below net/."""
        root = self.machine.path("/proc/sys/net")
        names = ["ipv4/ip_forward"]
        for folder in sorted(root.glob("ipv4/conf/*")):
            if not folder.name.startswith("link"):
                names += [f"ipv4/conf/{folder.name}/{name}" for name in _PER_INTERFACE]
        return {name: value for name in names if (value := _text(root / name)) is not None}

    def _traces(self) -> list[str]:
        """What of an overlay is on this host, in a word each."""
        machine = self.machine
        found = [folder for folder in _FOLDERS if machine.path(folder).exists()]
        found += [f"unit {name}" for name in self._overlay_units()]
        found += [_SYSCTL] if machine.path(_SYSCTL).exists() else []
        found += ["nftables table inet overlay"] if self._firewall() else []
        found += ["SSH key"] if any(map(_is_ours, self._authorized())) else []
        return found

    def _overlay_units(self) -> list[str]:
        there = {path.name for path in self.machine.path(_UNITS).glob("overlay-*")}
        listed = self.machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", _OURS, check=False)
        return sorted(there | {line.split()[0] for line in listed.splitlines() if line.startswith("overlay-")})

    # What is changed

    def _authorized(self, path: Path | None = None) -> list[str]:
        kept = self.machine.read_json(BEFORE).get("keys_file")
        path = path or (Path(kept) if kept else _home(".ssh/authorized_keys"))
        return (_text(path) or "").splitlines()

    def _authorize(self, path: Path, lines: list[str], *, keep: bool = True) -> None:
        """The file whole, its mode and owner as they are."""
        if not keep:
            path.unlink(missing_ok=True)
            return
        there = path.exists()
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
        mode, owner = (path.stat().st_mode & 0o7777, path.stat()) if there else (0o600, None)
        staged = self.machine.stage(path, "".join(f"{line}\n" for line in lines), mode)
        if owner:
            os.chown(staged, owner.st_uid, owner.st_gid)
        staged.replace(path)

    def _put_back(self, kept: dict[str, Any] | None) -> None:
        """BIRD's configuration as the host had it: a file of Debian's, whose place the overlay's took."""
        path = self.machine.path(_BIRD)
        if kept and path.parent.exists() and not path.exists():
            self.machine.stage(path, kept["content"], kept["mode"]).replace(path)
            os.chown(path, kept["uid"], kept["gid"])

    def _restore(self, settings: dict[str, str]) -> list[str]:
        """Kernel settings as they were. Forwarding first: the kernel resets others with it."""
        done = []
        root = self.machine.path("/proc/sys/net")
        for name, value in settings.items():
            path = root / name
            if path.exists() and _text(path) != value:
                path.write_text(value)
                done.append(f"setting {name.replace('/', '.')}")
        return done


def _kept(path: Path) -> dict[str, Any] | None:
    content = _text(path)
    if content is None:
        return None
    known = path.stat()
    return {"content": content, "mode": known.st_mode & 0o7777, "uid": known.st_uid, "gid": known.st_gid}


def _is_ours(line: str) -> bool:
    return f" {MARK} " in line


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() if str(path).startswith("/proc/") else path.read_text()
    except OSError:
        return None


def _home(keys_file: str) -> Path:
    """Where sshd looks for root's keys (sshd_config(5), AuthorizedKeysFile: the first of its words)."""
    home = Path(pwd.getpwuid(0).pw_dir)
    path = keys_file.split(maxsplit=1)[0]
    for token, value in (("%h", str(home)), ("%u", "root"), ("%U", "0"), ("%%", "%")):
        path = path.replace(token, value)
    return home / path


def _opens(device: str) -> bool:
    """Opening it has the kernel bring its module."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _udp_ports() -> set[int]:
    """Ports on which somebody receives UDP (proc(5), /proc/net/udp)."""
    found = set()
    for name in ("udp", "udp6"):
        for line in (_text(Path("/proc/net", name)) or "").splitlines()[1:]:
            found.add(int(line.split()[1].rpartition(":")[2], 16))
    return found


def _partners() -> list[str]:
    """IPv4 addresses that this host depends on now: its resolvers, and the far ends of its TCP connections."""
    told = [_text(Path(name)) or "" for name in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")]
    lines = map(str.split, "\n".join(told).splitlines())
    found = {words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"}
    for line in (_text(Path("/proc/net/tcp")) or "").splitlines()[1:]:
        far, state = line.split()[2:4]
        if state == "01":  # established
            raw = bytes.fromhex(far.partition(":")[0])
            found.add(socket.inet_ntoa(raw if sys.byteorder == "big" else raw[::-1]))
    return sorted(address for address in found if ":" not in address and not address.startswith("127."))


def _followed(argv: list[str], environment: dict[str, str], end: float) -> None:
    """Run a program until its end, or until the deadline, and tell on what it says."""
    last: list[str] = []
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        output = process.stdout
        if output is None:
            raise RefusedError(f"{argv[0]}: no output")
        rest = b""
        while True:
            readable, _, _ = select.select([output], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                process.kill()
                raise RefusedError(f"{' '.join(argv)}: not done within the deadline; it said last: {' | '.join(last)}")
            data = os.read(output.fileno(), 1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in (each.decode(errors="replace").strip() for each in lines):
                last = [*last[-5:], line] if line else last
                if _TOLD.match(line):
                    _answer({"progress": line})
    if process.returncode:
        raise RefusedError(f"{' '.join(argv)}: exit code {process.returncode}: {' | '.join(last)}")


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve standard input: a request {"op", "arguments"} a line."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    os.umask(0o022)
    host = Host(Machine(), sys.argv[1].partition(" ")[0] if len(sys.argv) > 1 else "")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with host.machine.alone() if request["op"] in _CHANGING else contextlib.nullcontext():
                _answer({"result": getattr(host, request["op"])(**request["arguments"])})
        except (RefusedError, OSError, ValueError) as error:
            _answer({"error": str(error)})


_CHANGING = {"adopt", "install", "reload", "leave"}
_OURS = "overlay-*"
_STATES = ("is-active", "is-enabled")
_FALLBACK = re.compile(r"ip route replace unreachable (\S+) metric 65535")
_BORNE = re.compile(r"ip address replace (\S+)/32 dev lo")
