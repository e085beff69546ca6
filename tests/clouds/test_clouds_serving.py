"""An emulated cloud's API runs in the background: found again, left alone, ended, and gone with its lab."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proactive_tasks.cli import main
from proactive_tasks.clouds.dialing import PROXY
from proactive_tasks.lab import Lab, labs, namespaces
from proactive_tasks.lab.cloud import proxy, registry
from proactive_tasks.lab.cloud.fabric import Fabric
from proactive_tasks.lab.cloud.registry import ApiEmulator, Dialled
from proactive_tasks.lab.cloud.serve import module_of
from proactive_tasks.lab.names import CloudNames
from proactive_tasks.lab.processes import wait
from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.errors import InputError, ProviderError
from tests.ports import free_port

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no lab here; it lacks {'; '.join(missing())}")

ROOT = Path(__file__).parents[2]


def silent(_line: str) -> None:
    pass


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for other in labs():
        stem, _, pid = other.rpartition("-")
        if stem == "fabric-s" and pid.isdigit() and not Path("/proc", pid).exists():
            Lab(other).destroy()
    name = f"fabric-s-{os.getpid()}"
    try:
        yield name
    finally:
        Lab(name).destroy()
    assert Lab(name).leftovers() == []
    assert name not in labs()


@pytest.fixture
def stub(lab: str) -> Callable[..., Dialled]:
    """A stub cloud of the lab, with the lab's proxy."""
    proxy_port = free_port()

    def make(name: str = "stub", *, module: str = "tests.clouds.stubcloud", port: int = 0) -> Dialled:
        return Dialled(ApiEmulator(name, lab, port or free_port(), module=module), lab, proxy_port)

    return make


def call(url: str, *calls: tuple[str, str]) -> list[dict[str, int]]:
    """What the API answers to each call."""
    answers = []
    for method, path in calls:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        connection.request(method, path)
        answers.append(json.loads(connection.getresponse().read()))
        connection.close()
    return answers


def answers(lab: str, address: str) -> bool:
    return Lab(lab).exec("controller", ["ping", "-c1", "-W2", address]).returncode == 0


def test_a_cloud_comes_up_serves_and_goes_down(lab, stub):
    cloud, told = stub(), []
    assert cloud.environment() == {}
    variables = cloud.up(told.append)
    assert set(variables) == {"STUB_URL", "STUB_TOKEN", PROXY}
    assert cloud.environment() == variables
    assert any("starting the API of stub" in line for line in told)

    assert call(variables["STUB_URL"], ("PUT", "/one?token=hush"), ("GET", "/")) == [{"one": 1}, {"one": 1}]
    assert answers(lab, "192.0.2.1")
    log = (CloudNames(lab, "stub").own.folder / "serve.log").read_text()
    assert "PUT '/one' 200" in log
    assert "hush" not in log

    removed = cloud.down()
    assert any("API of stub" in line for line in removed)
    assert any("proxy" in line for line in removed)
    assert cloud.environment() == {}
    assert Lab(lab).leftovers() == []
    assert cloud.down() == []


def test_one_that_runs_is_left_alone_and_says_so_where_it_was_to_be_another(lab, stub):
    cloud = stub()
    variables = cloud.up(silent)
    call(variables["STUB_URL"], ("PUT", "/one"))
    assert cloud.up(silent) == variables
    assert call(variables["STUB_URL"], ("GET", "/")) == [{"one": 1}]
    with pytest.raises(InputError, match="runs on port"):
        stub(port=free_port()).up(silent)


def test_the_proxy_goes_with_the_last_cloud(lab, stub):
    one, other = stub("stub"), stub("stub2")
    assert one.up(silent)[PROXY] == other.up(silent)[PROXY]
    one.down()
    assert proxy.environment(lab)
    assert other.environment()
    other.down()
    assert not proxy.environment(lab)


def test_a_cloud_whose_process_was_killed_begins_anew(lab, stub):
    cloud = stub()
    call(cloud.up(silent)["STUB_URL"], ("PUT", "/one"))
    pid = json.loads((CloudNames(lab, "stub").own.folder / "serve.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    wait(lambda: cloud.environment() == {}, 60, "it lives")
    assert answers(lab, "192.0.2.1")
    variables = cloud.up(silent)
    assert call(variables["STUB_URL"], ("GET", "/")) == [{}]
    assert not answers(lab, "192.0.2.1")


def test_a_cloud_that_cannot_start_says_why_and_leaves_nothing(lab, stub):
    with pytest.raises(ProviderError, match=r"API of stub: process \d+ ended; it said last: .*no such emulated cloud"):
        stub(module="tests.clouds.nothing").up(silent)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"port \d+ cannot be had"):
            stub(port=taken.getsockname()[1]).up(silent)
    stub().down()
    assert Lab(lab).leftovers() == []


def test_without_machines_there_is_only_the_api(lab):
    cloud = ApiEmulator("stub", lab, free_port(), machines=False, module="tests.clouds.stubcloud")
    variables = cloud.up(silent)
    assert call(variables["STUB_URL"], ("PUT", "/one")) == [{"one": 1}]
    assert namespaces.existing(f"ovl.{lab}.") == []
    cloud.down()
    assert Lab(lab).leftovers() == []


def test_the_lab_finds_all_of_it_and_removes_it(lab, stub):
    call(stub().up(silent)["STUB_URL"], ("PUT", "/one"))
    assert lab in labs()
    assert Lab(lab).clouds() == ["stub"]
    left = "\n".join(Lab(lab).leftovers())
    assert left.count("process ") == 2  # the API's and the proxy's
    Lab(lab).destroy()
    assert Lab(lab).leftovers() == []


def test_a_cloud_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="no such emulated cloud; use one of aws, azure, openstack"):
        registry.emulator("gcp")
    with pytest.raises(InputError, match="no such emulated cloud"):
        module_of("gcp")


# --- the command line


def overlayctl(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "cloud", *words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_up_prints_what_a_shell_can_evaluate_and_down_removes(lab, stub, monkeypatch, capsys):
    monkeypatch.setattr(registry, "emulator", lambda _name, _lab, **_options: stub())
    code, out, err = overlayctl(capsys, "aws", "up", "--lab", lab)
    assert code == 0
    assert "starting the API of stub" in err
    told = subprocess.run(["sh", "-c", f'{out} echo "$STUB_TOKEN"'], capture_output=True, text=True).stdout
    assert told == "it's a stub\n"
    assert {shlex.split(line)[0] for line in out.splitlines()} == {"export"}
    monkeypatch.setattr(registry, "emulator", lambda _name, _lab, **_options: stub())
    code, out, _ = overlayctl(capsys, "aws", "down", "--lab", lab, "--output", "json")
    assert code == 0
    assert json.loads(out)["removed"]


def test_ls_and_exec_know_servers_by_label_and_by_identifier(lab, stub, capsys):
    url = stub().up(silent)["STUB_URL"]
    call(url, ("PUT", "/demo--aws--host1"))
    code, out, _ = overlayctl(capsys, "ls", "--lab", lab, "--output", "json")
    assert code == 0
    assert json.loads(out)["clouds"] == ["stub"]
    (server,) = json.loads(out)["servers"]
    assert (server["cloud"], server["label"], server["name"]) == ("stub", "demo--aws--host1", "id-demo--aws--host1")
    assert (server["state"], server["private"], server["public"]) == ("running", ["10.9.0.10"], ["192.0.2.1"])
    assert server["namespace"] in namespaces.existing(f"ovl.{lab}.")
    assert "demo--aws--host1" in overlayctl(capsys, "ls", "--lab", lab)[1]
    for name in (server["label"], server["name"]):
        command = [sys.executable, "-m", "proactive_tasks.cli", "lab", "cloud", "exec", "--lab", lab, name, "--"]
        done = subprocess.run([*command, "sh", "-c", "ip -br address; exit 7"], capture_output=True, text=True)
        assert "10.9.0.10/24" in done.stdout
        assert done.returncode == 7
    code, _, err = overlayctl(capsys, "exec", "--lab", lab, "nobody", "true")
    assert (code, err.count("\n")) == (2, 1)
    # The lab's own commands take such a lab as it is.
    with pytest.raises(SystemExit) as ended:
        main(["lab", "ls", "--overlay", lab])
    assert not ended.value.code
    assert "emulated stub" in capsys.readouterr().out


def test_without_root_it_is_refused_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (("aws", "up"), ("aws", "up", "--no-machines"), ("azure", "down"), ("ls",), ("exec", "a", "true")):
        code, out, err = overlayctl(capsys, *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "root (start it with sudo)" in err


def test_two_servers_of_one_label_are_told_apart_by_their_identifiers(lab, stub, capsys):
    for name in ("stub", "stub2"):
        call(stub(name).up(silent)["STUB_URL"], ("PUT", "/twin"))
    assert len([each for cloud in Lab(lab).clouds() for each in Fabric(lab, cloud).servers()]) == 2
    code, _, err = overlayctl(capsys, "exec", "--lab", lab, "twin", "true")
    assert code == 2
    assert "2 have this label; name one of id-twin (stub), id-twin (stub2)" in err
