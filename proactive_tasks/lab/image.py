"""The image of a gateway's machine: Debian 12 with what a cloud image has, without what a lab boot would wait for."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from proactive_tasks.lab import processes
from proactive_tasks.lab.files import locked
from proactive_tasks.lab.names import CACHE, STATE
from proactive_tasks.overlay.errors import ProviderError

SUITE = "bookworm"
BUILD_S = 1200.0
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "cloud-init", "python3",
    "iproute2", "iputils-ping", "nftables", "openvpn", "bird2", "openssl", "ca-certificates", "tcpdump", "iperf3",
)  # fmt: skip

GENERATORS = (
    "cloud-init-generator", "systemd-cryptsetup-generator", "systemd-debug-generator", "systemd-fstab-generator",
    "systemd-getty-generator", "systemd-gpt-auto-generator", "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator", "systemd-rc-local-generator", "systemd-run-generator",
    "systemd-system-update-generator", "systemd-sysv-generator", "systemd-veritysetup-generator",
)  # fmt: skip
"""Programs that look at every boot for hardware and legacies that a lab machine cannot have."""

MASKED = (
    # cloud-init runs from stages.py
    "cloud-init-local.service", "cloud-config.service", "cloud-final.service", "cloud-init-hotplugd.socket",
    # timers and housekeeping of long-lived machines
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "systemd-tmpfiles-clean.timer", "systemd-pstore.service",
    # consoles, seats, logins
    "getty.target", "console-getty.service", "systemd-logind.service", "systemd-initctl.socket",
    "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
    "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    # disks, kernel, hardware: the host's
    "remote-fs.target", "systemd-remount-fs.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "systemd-modules-load.service", "kmod-static-nodes.service", "systemd-tmpfiles-setup-dev.service",
    "systemd-random-seed.service", "systemd-repart.service", "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    # done when the image is made
    "systemd-firstboot.service", "systemd-sysusers.service", "systemd-machine-id-commit.service",
    "systemd-journal-flush.service", "systemd-journald-audit.socket",
)  # fmt: skip

DISABLED = ("bird.service", "openvpn.service")
"""Services that a gateway's bundle starts when it has configured them."""

CLOUD_CONFIG = """\
datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
locale: false
ssh_genkeytypes: []
output: {all: '>> /var/log/cloud-init-output.log'}
cloud_init_modules: [bootcmd, write-files, set_hostname, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [write-files-deferred, scripts-user]
"""

SERVICE = """\
[Unit]
Description=cloud-init, all its stages
DefaultDependencies=no
After=systemd-tmpfiles-setup.service systemd-sysctl.service
Before=ssh.service systemd-user-sessions.service network-online.target sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=notify
ExecStart=/usr/bin/python3 /usr/lib/cloud-init/overlay_lab_stages.py
RemainAfterExit=yes
TimeoutSec=120
KillMode=process
"""

JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n"
_STAGES = Path(__file__).with_name("stages.py")


def digest() -> str:
    """Names the image: whatever changes it changes this."""
    parts = (SUITE, PACKAGES, GENERATORS, MASKED, DISABLED, CLOUD_CONFIG, SERVICE, JOURNAL, _STAGES.read_text())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def ensure(progress: Callable[[str], None]) -> Path:
    """The image's root directory, built if it is not cached: about a minute, 260 MB.

    Raises:
        ProviderError: it cannot be built; the message holds what mmdebstrap said last.
    """
    image = CACHE / f"image-{digest()}"
    if image.is_dir():
        return image
    with locked(CACHE / "image.lock", BUILD_S):
        if not image.is_dir():
            progress("building the machines' image, once: about a minute")
            _prune()
            beside = Path(tempfile.mkdtemp(dir=CACHE, prefix=f"{image.name}.new-"))
            _bootstrap(beside, progress)
            customise(beside)
            beside.chmod(0o755)
            beside.rename(image)
            progress("image built")
    return image


def _prune() -> None:
    """Remove what killed builders left, and images of other versions on which no machine's disk rests."""
    used = {Path(path.read_text()) for path in STATE.glob("*/*/disk/image")}
    for path in CACHE.glob("image-*"):
        if path not in used:
            shutil.rmtree(path, ignore_errors=True)


def sources(folder: Path, suite: str = SUITE) -> list[str]:
    """The host's own package sources of the suite, as files in a folder; none on another system: the tool's default."""
    found = []
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if path.suffix not in {".list", ".sources"} or not path.is_file():
            continue
        one = r"\n[ \t]*\n" if path.suffix == ".sources" else r"\n"  # an entry is a stanza, or a line
        kept = [entry for entry in re.split(one, path.read_text()) if is_of(entry, suite)]
        if kept:
            copy = folder / path.name
            copy.write_text("\n\n".join(kept) + "\n")
            found.append(str(copy))
    return found


def is_of(entry: str, suite: str) -> bool:
    """Does an entry offer binary packages of the distribution itself: this suite, its updates, its security fixes?"""
    text = "\n".join(line for line in entry.splitlines() if not line.startswith("#"))
    words = set(text.split())
    return "main" in words and bool({"deb", "Types:"} & words) and suite in {word.split("-")[0] for word in words}


def _bootstrap(root: Path, progress: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="overlay-lab-") as folder:
        command = [
            # Were this process killed, nobody would wait for the image: mmdebstrap is to end, too.
            "setpriv", "--pdeathsig=TERM", "timeout", "--kill-after=10", str(BUILD_S),
            "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale", "info", "i18n")),
            SUITE, str(root), *sources(Path(folder)),
        ]  # fmt: skip
        last: list[str] = []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=processes.environment(LC_ALL="C.UTF-8"),
        ) as build:  # fmt: skip
            for line in build.stderr or ():
                last = [*last[-9:], line.strip()]
                if line.startswith("I: ") and line.rstrip().endswith("..."):
                    progress(f"image: {line[3:].strip()}")
        if build.returncode:
            raise ProviderError(f"lab: mmdebstrap cannot build the machines' image: {' | '.join(last)}")


def customise(root: Path) -> None:
    """Make a bare Debian the image: no keys, no identity, no console, cloud-init from NoCloud only."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/cloud/cloud.cfg.d/95_overlay_lab.cfg").write_text(CLOUD_CONFIG)
    (root / "usr/lib/cloud-init/overlay_lab_stages.py").write_text(_STAGES.read_text())
    systemd = root / "etc/systemd"
    for folder in ("system-generators", "journald.conf.d", "system/multi-user.target.wants"):
        (systemd / folder).mkdir(parents=True, exist_ok=True)
    for name in GENERATORS:
        _link(systemd / "system-generators" / name, "/dev/null")
    for name in MASKED:
        _link(systemd / "system" / name, "/dev/null")
    for name in DISABLED:
        (systemd / "system/multi-user.target.wants" / name).unlink(missing_ok=True)
    (systemd / "journald.conf.d/overlay-lab.conf").write_text(JOURNAL)
    (systemd / "system/cloud-init.service").write_text(SERVICE)
    _link(systemd / "system/default.target", "/lib/systemd/system/multi-user.target")
    _link(systemd / "system/multi-user.target.wants/cloud-init.target", "/lib/systemd/system/cloud-init.target")


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
