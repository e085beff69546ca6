"""The start-up fragment lets a machine join when the overlay answers, and not after its deadline."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

FRAGMENT = Path(__file__).parents[2] / "catalog" / "node_source_startup.sh"


def script(tmp_path: Path) -> Path:
    """The fragment within a start-up script, its placeholder filled in."""
    file = tmp_path / "startup.sh"
    file.write_text(FRAGMENT.read_text().replace("%nodeSourceName%", "aws-frankfurt") + "\necho joined\n")
    return file


def start(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", str(script(tmp_path))],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_posix_shell_with_one_placeholder() -> None:
    text = FRAGMENT.read_text()
    assert re.findall(r"%[^\n]*", text) == ['%nodeSourceName%: $*" >&2']
    assert text.isascii()
    subprocess.run(["sh", "-n", str(FRAGMENT)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-s", "sh", str(FRAGMENT)], check=True)


def test_a_machine_joins_when_all_targets_answer(tmp_path: Path) -> None:
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        taken = late.getsockname()[1]
        process = start(tmp_path, OVERLAY_TARGETS=f"127.0.0.1:{taken}", OVERLAY_DEADLINE_S="600")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        late.listen()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "joined\n")
    assert err == f"overlay: node source aws-frankfurt: 127.0.0.1:{taken} answer\n"


@pytest.mark.skipif(not shutil.which("ping"), reason="no ping here")
def test_an_address_is_asked_by_ping(tmp_path: Path) -> None:
    out, err = start(tmp_path, OVERLAY_TARGETS="127.0.0.1 127.0.0.2").communicate(timeout=60)
    assert (out, err.count("\n")) == ("joined\n", 1)


@pytest.mark.parametrize(("required", "code", "out"), [("yes", 1, ""), ("no", 0, "joined\n")])
def test_after_the_deadline_it_does_not_join_unless_told_so(tmp_path: Path, required: str, code: int, out: str) -> None:
    process = start(tmp_path, OVERLAY_TARGETS="127.0.0.1:1", OVERLAY_DEADLINE_S="1", OVERLAY_REQUIRED=required)
    told = process.communicate(timeout=60)
    assert (process.returncode, told[0]) == (code, out)
    assert "127.0.0.1:1 did not answer within 1 s" in told[1]


def test_without_a_target_or_without_ping_it_says_what_to_do(tmp_path: Path) -> None:
    _, err = start(tmp_path).communicate(timeout=60)
    assert "OVERLAY_TARGETS names nothing" in err
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cut", "sleep", "timeout"):
        (programs / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    _, err = start(tmp_path, OVERLAY_TARGETS="10.250.0.254", PATH=str(programs)).communicate(timeout=60)
    assert "write 10.250.0.254:PORT into OVERLAY_TARGETS" in err
