"""One change of a gateway: what differs, then exactly that, and back again if it breaks the gateway's links.

Standard library only: this file runs on the gateway. All files of a change are written beside their places and checked
before the first is switched; the old ones stay until the change has proved itself. A unit's restart is owed until it is
recorded as done, so that a session that died in between is completed by the next.
"""

from __future__ import annotations

import errno
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from proactive_tasks.gateway.machine import Machine, RefusedError

ROUTING_UNIT = "overlay-routing.service"
MANIFEST = "/etc/overlay/manifest.json"
_APPLIED = "/run/overlay/applied.json"
_OLD = ".overlay-old"
_CHECKS = {
    "/etc/overlay/firewall.nft": ("nft", "-c", "-f"),
    "/etc/bird/bird.conf": ("bird", "-p", "-c"),
}
_RETURN_S = 10.0


class Difference:
    """What a change has to do: files, then units, by name."""

    def __init__(self) -> None:
        self.write: list[dict[str, Any]] = []
        self.remove: list[str] = []
        self.start: list[str] = []
        self.restart: list[str] = []
        self.reload: list[str] = []
        self.stop: list[str] = []
        self.enable: list[str] = []

    def lines(self) -> list[str]:
        """A line for each step."""
        steps = [("write", [file["path"] for file in self.write])]
        steps += [(name, getattr(self, name)) for name in ("remove", "stop", "start", "restart", "reload", "enable")]
        return [f"{verb} {name}" for verb, names in steps for name in names]


class Change:
    """A bundle (files, units, settle_s) on its way to a machine. What is of a later phase is left alone."""

    def __init__(self, machine: Machine, bundle: dict[str, Any], phase: int = 2) -> None:
        self.machine = machine
        self.files: list[dict[str, Any]] = bundle["files"]
        self.units: list[dict[str, Any]] = bundle["units"]
        self.settle_s = float(bundle["settle_s"])
        self.phase = phase
        self.kept: dict[str, bool] = {}  # switched paths: whether there was an old file
        self.stale_definitions = False
        self.running: set[str] = set()

    def difference(self) -> Difference:
        """What differs between the machine and the bundle, units of all phases included."""
        machine, found = self.machine, Difference()
        manifest = machine.read_json(MANIFEST)
        found.write = [file for file in self.files if machine.digest(file["path"]) != file["digest"]]
        wanted_paths = {file["path"] for file in self.files}
        found.remove = sorted(
            name for name in manifest.get("files", ()) if name not in wanted_paths and machine.path(name).exists()
        )
        names = [unit["name"] for unit in self.units]
        stale = sorted(set(manifest.get("units", ())) - set(names))
        states = machine.units([*names, *stale])
        self.running = {name for name in names if states[name].get("ActiveState") in {"active", "reloading"}}
        self.stale_definitions = any(state.get("NeedDaemonReload") == "yes" for state in states.values())
        found.stop = stale
        applied = machine.read_json(_APPLIED)
        for name in names:
            wanted, known = self._marks(name), applied.get(name) or self._marks(name, on_disk=True)
            if name not in self.running:
                found.start.append(name)
            elif known.get("restart") != wanted["restart"]:
                found.restart.append(name)
            elif known.get("reload") != wanted["reload"]:
                found.reload.append(name)
        found.enable = [name for name in names if not machine.enabled(name)]
        return found

    def apply(self) -> dict[str, Any]:
        """Carry the difference out.

        Returns:
            `changed`, the lines of what was done, and `failed`: links that were put back, by interface, with reasons.

        Raises:
            RefusedError: nothing could be changed, or all of it was undone.
        """
        with self.machine.alone():
            return self._apply()

    def _apply(self) -> dict[str, Any]:
        found = self._due()
        lines = found.lines()
        before = self.machine.established() if lines else set()
        started = time.monotonic()
        self._adopt()
        staged = self._stage(found)
        try:
            self._switch(staged, found.remove)
            self._act(found)
            failed = self._judge(found, before)
        except (RefusedError, OSError) as error:
            _discard(staged)
            self._restore(found)
            raise RefusedError(f"{_reason(error)}; the gateway stands as before") from error
        self._forget_old()
        manifest = {"files": sorted(f["path"] for f in self.files), "units": sorted(u["name"] for u in self.units)}
        self._write_manifest(manifest)
        return {"changed": lines, "failed": failed, "seconds": round(time.monotonic() - started, 3)}

    def _due(self) -> Difference:
        """The difference without what waits for a later phase: units, and files that are theirs alone.

        A file is switched by the phase that restarts its unit, so that the old one is there if the link stays away.
        """
        found = self.difference()
        later = {unit["name"] for unit in self.units if unit["phase"] > self.phase}
        found.write = [file for file in found.write if not file["units"] or not later.issuperset(file["units"])]
        for steps in (found.start, found.restart, found.reload, found.enable):
            steps[:] = [name for name in steps if name not in later]
        return found

    # Files

    def _stage(self, found: Difference) -> dict[str, Path]:
        """All new files, checked, beside their places; by path."""
        staged: dict[str, Path] = {}
        try:
            for file in found.write:
                path = self.machine.path(file["path"])
                path.parent.mkdir(parents=True, exist_ok=True)
                staged[file["path"]] = self.machine.stage(path, file["content"], file["mode"])
                if check := _CHECKS.get(file["path"]):
                    self.machine.run(*check, str(staged[file["path"]]))
            manifest = self.machine.read_json(MANIFEST)
            union = {
                "files": sorted({*manifest.get("files", ()), *(f["path"] for f in self.files)}),
                "units": sorted({*manifest.get("units", ()), *(u["name"] for u in self.units)}),
            }
            self._write_manifest(union)
        except (OSError, RefusedError) as error:
            _discard(staged)
            raise RefusedError(f"nothing was changed: {_reason(error)}") from error
        return staged

    def _switch(self, staged: dict[str, Path], gone: list[str]) -> None:
        """Put the new files in their places; the old ones stay beside them."""
        for name in (*staged, *gone):
            path = self.machine.path(name)
            old = path.with_name(path.name + _OLD)
            old.unlink(missing_ok=True)
            if there := path.exists():
                old.hardlink_to(path)
            self.kept[name] = there
            if name in staged:
                staged[name].replace(path)
            else:
                path.unlink()

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        if self.machine.read_json(MANIFEST) != manifest:
            self.machine.write(MANIFEST, json.dumps(manifest, indent=1))

    def _put_back(self, names: list[str]) -> None:
        for name in names:
            path = self.machine.path(name)
            if self.kept.pop(name):
                old = path.with_name(path.name + _OLD)
                old.replace(path)
                old.unlink(missing_ok=True)  # two names of one file stay two
            else:
                path.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        for name in self.kept:
            path = self.machine.path(name)
            path.with_name(path.name + _OLD).unlink(missing_ok=True)

    # Units

    def _act(self, found: Difference) -> None:
        machine = self.machine
        definitions = [path for path in self.kept if path.startswith("/etc/systemd/")]
        if found.stop:
            machine.systemctl("stop", *found.stop)
            for unit in found.stop:
                machine.disable(unit)
        for unit in found.enable:
            machine.enable(unit)
        # A unit file that is new has never been read, so nothing is to be read again: a tenth of a second saved.
        if self.stale_definitions or any(self.kept[path] for path in definitions):
            machine.systemctl("daemon-reload")
        for unit in found.reload:
            if unit == ROUTING_UNIT:
                self._reconfigure()
            else:
                machine.systemctl("reload", unit)
            self._record([unit])
        if found.start:
            machine.systemctl("start", *found.start)
            self._record(found.start)
        self._restart(found.restart)

    def _reconfigure(self) -> None:
        """Have BIRD read its configuration. One that starts just now may have read the old one: it is waited for."""
        end = time.monotonic() + _RETURN_S
        while not self.machine.bird("configure"):
            if time.monotonic() > end:
                raise RefusedError(f"{ROUTING_UNIT}: BIRD does not answer, so it did not take its new configuration")
            time.sleep(0.05)

    def _restart(self, units: list[str]) -> None:
        """One tunnel at a time, so that traffic has a detour; what is no tunnel at once."""
        interfaces = {unit["name"]: unit["interface"] for unit in self.units}
        returning = {unit["interface"] for unit in self.units if unit["returns"]}
        if plain := [unit for unit in units if not interfaces[unit]]:
            self.machine.systemctl("restart", *plain)
            self._record(plain)
        tunnels = [unit for unit in units if interfaces[unit]]
        for unit in tunnels:
            stood = interfaces[unit] in self.machine.established() & returning
            self.machine.systemctl("restart", unit)
            self._record([unit])
            if stood and unit != tunnels[-1]:
                self._await({interfaces[unit]}, _RETURN_S)

    def _adopt(self) -> None:
        """Note of units that started by themselves, at boot, with which files they did."""
        applied = self.machine.read_json(_APPLIED)
        if fresh := {unit: self._marks(unit, on_disk=True) for unit in self.running if unit not in applied}:
            self.machine.write(_APPLIED, json.dumps({**applied, **fresh}), 0o600)

    def _record(self, units: list[str]) -> None:
        applied = self.machine.read_json(_APPLIED)
        applied.update({unit: self._marks(unit) for unit in units})
        self.machine.write(_APPLIED, json.dumps(applied), 0o600)

    def _forget(self, units: list[str]) -> None:
        applied = self.machine.read_json(_APPLIED)
        kept = {unit: marks for unit, marks in applied.items() if unit not in units}
        self.machine.write(_APPLIED, json.dumps(kept), 0o600)

    def _marks(self, unit: str, *, on_disk: bool = False) -> dict[str, str]:
        """Digests of the files for which a unit is restarted, and of those for which it is reloaded."""
        marks = {}
        for act in ("restart", "reload"):
            files = sorted((f["path"], f["digest"]) for f in self.files if unit in f["units"] and f["act"] == act)
            parts = [path + (self.machine.digest(path) if on_disk else digest) for path, digest in files]
            marks[act] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return marks

    # Judgement

    def _judge(self, found: Difference, before: set[str]) -> dict[str, str]:
        """Links that worked before, were restarted and do not come back; each is put back to its old file.

        A link that was left alone and is lost while others stand has lost its peer: that is not this change's doing.

        Raises:
            RefusedError: none of the links that worked before works now.
        """
        interfaces = {unit["name"]: unit["interface"] for unit in self.units}
        wanted = before & {unit["interface"] for unit in self.units if unit["returns"]}
        restarted = {interfaces[unit] for unit in found.restart} & wanted
        if not wanted or not (found.reload or found.restart):
            return {}
        if set(found.reload + found.restart) - {unit for unit, interface in interfaces.items() if interface}:
            time.sleep(self.settle_s)  # what such a change broke shows only when link detection has noticed
        back = self._await(wanted, _RETURN_S)
        failed = {}
        for interface in sorted(restarted - back):
            unit = next(name for name, known in interfaces.items() if known == interface)
            said = self.machine.journal(unit)
            if own := [f["path"] for f in self.files if f["units"] == [unit] and f["path"] in self.kept]:
                self._put_back(own)
                self._forget([unit])
                self.machine.systemctl("restart", unit)
            fate = "put back as it was" if own else "left as it is"
            failed[interface] = f"did not come back within {_RETURN_S:.0f} s, {fate}: {said}"
        if not back and not self._await(wanted, _RETURN_S, least=1):
            raise RefusedError(f"none of the links {', '.join(sorted(wanted))} came back within {_RETURN_S:.0f} s")
        return failed

    def _await(self, interfaces: set[str], deadline_s: float, least: int = 0) -> set[str]:
        """Those of some links that stand, as soon as all do (or `least` of them), or the time is over."""
        end = time.monotonic() + deadline_s
        while True:
            standing = self.machine.established() & interfaces
            if len(standing) >= (least or len(interfaces)) or time.monotonic() > end:
                return standing
            time.sleep(0.05)

    def _restore(self, found: Difference) -> None:
        """Everything back: files, then the units that had their files changed."""
        touched = {unit for file in self.files if file["path"] in self.kept for unit in file["units"]}
        self._put_back(list(self.kept))
        self._forget([*touched, *found.stop])
        self.machine.systemctl("daemon-reload")
        for unit in [*touched, *found.stop]:
            action = "reload-or-restart" if unit in found.reload else "restart"
            fresh = unit in found.start
            self.machine.run("systemctl", "stop" if fresh else action, unit, check=False, timeout=30)
            if unit in found.enable and fresh:
                self.machine.disable(unit)
        for unit in found.stop:
            self.machine.enable(unit)


def _discard(staged: dict[str, Path]) -> None:
    for path in staged.values():
        path.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return "its disk is full: make room, then run again" if full else str(error)
