"""Runs inside a lab machine: cloud-init's stages in order, from one start of the interpreter.

cloud-init starts Python four times a boot, 0.4 s of processor time each; here each stage is a fork of one that has
everything imported (newer releases of cloud-init do the like: its 'single process' mode). The stages' contents and
their places in the boot, before sshd and after multi-user.target, stay cloud-init's own.
"""

import os
import socket
import subprocess
import sys
import warnings


def stage(*arguments: str) -> int:
    """Run one stage in a fork; 0 or 1."""
    pid = os.fork()
    if not pid:
        os._exit(1 if main(["cloud-init", *arguments]) else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ready(address: str) -> None:
    """Tell systemd that what sshd needs is done (sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)


if __name__ == "__main__":
    from cloudinit.cmd.main import main  # type: ignore[import-not-found]  # it is there in the image only

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork after imports is what this is about
    notify = os.environ.pop("NOTIFY_SOCKET")
    faults = stage("init", "--local")
    ready(notify)
    subprocess.run(["/bin/systemctl", "start", "multi-user.target"], check=False)
    faults |= stage("modules", "--mode=config")
    faults |= stage("modules", "--mode=final")
    sys.exit(faults)
