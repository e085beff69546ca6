"""Bad input is refused in one line that names the object and the next step, and nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from sqlalchemy import text

from proactive_tasks.gateway.access import ensure_key
from proactive_tasks.lab import labs
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.store import Store
from proactive_tasks.store.base import now
from proactive_tasks.store.dead import free_dead_jobs
from proactive_tasks.store.jobs import Jobs
from proactive_tasks.store.location import default_store_url
from tests.console.conftest import PASSPHRASE, SPEC, Cli

Content = Callable[[], list[str]]

HEAD = "version: 1\noverlay: fresh\n"

NAMES = ("two words", "o'hara", 'say "hi"', "a\nb", "a;b", "$(id)", "`id`", "../etc", "x" * 300, "münchen", "a--b", "")

PARIS = "name: paris, provider: lab"


def sites(*lines: str) -> str:
    return HEAD + "sites:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


SPECIFICATIONS = {
    "unknown provider": (sites("name: paris, provider: gcp"), "gcp", "use one of"),
    "provider without a driver": (sites("name: paris, provider: vcloud"), "vcloud", "no driver", "lab"),
    "unknown back end": (HEAD + "vpn: pptp\n", "pptp", "use openvpn"),
    "back end that is not there yet": (HEAD + "vpn: wireguard\n", "wireguard", "use openvpn"),
    "duplicate site": (sites(PARIS, PARIS), "site paris is there twice", "rename one"),
    "network not private": (HEAD + "network: 8.0.0.0/8\n", "8.0.0.0/8 is not private"),
    "network too small": (HEAD + "network: 10.0.0.0/20\n", "10.0.0.0/20 has 12 bits"),
    "host_bits out of range": (HEAD + "host_bits: 17\n", "host_bits: 17"),
    "whole overlap": (
        sites(PARIS + ", prefixes: [172.16.0.0/24]", "name: rome, provider: lab, prefixes: [172.16.0.0/24]"),
        "172.16.0.0/24 overlaps 172.16.0.0/24 of site paris",
    ),
    "partial overlap": (
        sites(PARIS + ", prefixes: [172.16.0.0/24]", "name: rome, provider: lab, prefixes: [172.16.0.128/25]"),
        "172.16.0.128/25 overlaps 172.16.0.0/24 of site paris",
    ),
    "overlap with the tunnels' network": (sites(PARIS + ", prefixes: [100.64.1.0/24]"), "overlaps transit_network"),
    "257th deployment": (
        sites(*(f"name: site{n}, provider: lab" for n in range(257))),
        "site256",
        "no free deployment",
    ),
    "unknown version": (HEAD.replace("1", "2"), "line 1", "version: 2", "write 'version: 1'"),
    "unknown key": (HEAD + "colour: red\n", "line 3", "colour: unknown key"),
    "not a mapping": ("- a\n- b\n", "line 1", "not a mapping"),
    "empty": ("", "empty"),
    "not YAML": ("version: [1\n", "line 2", "not valid YAML"),
    "50 MB": ("version: 1\n#" + "x" * 50_000_000, "MB"),
    "aliases without end": (HEAD + "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "alias"),
    "nested too deep": (HEAD + "sites: " + "[" * 100_000, "nested deeper"),
    "unknown option": (sites(PARIS + ", options: {'$(id)': 1}"), "option"),
    "jitter beyond the delay": (sites(PARIS + ", options: {jitter_ms: 5, delay_ms: 2}"), "jitter_ms: 5 is more than"),
    "sites that are no list": (HEAD + "sites: 3\n", "sites: 3 is not a list"),
    "a site that is no mapping": (HEAD + "sites: [paris]\n", "sites[0]: 'paris' is not a mapping"),
    "region with a command in it": (sites(PARIS + ", region: '$(id)'"), "is not a region"),
}


@pytest.mark.parametrize("command", [("plan",), ("deploy", "--yes")], ids=["plan", "deploy"])
@pytest.mark.parametrize("case", SPECIFICATIONS)
def test_a_bad_specification(cli: Cli, tmp_path: Path, content: Content, case: str, command: tuple[str, ...]) -> None:
    written, *words = SPECIFICATIONS[case]
    file = tmp_path / "overlay.yaml"
    file.write_text(written)
    cli("overlays")
    before = content()
    cli(*command, file).refused(str(file), *words) if "driver" not in case else cli(*command, file).refused(*words)
    assert content() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_specification(cli: Cli, tmp_path: Path, name: str) -> None:
    file = tmp_path / "overlay.yaml"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    file.write_text(sites(f'name: "{quoted}", provider: lab'))
    cli("deploy", file, "--yes").refused("is not a name")


@pytest.mark.parametrize("made", ["absent", "folder", "binary"])
def test_a_specification_that_cannot_be_read(cli: Cli, tmp_path: Path, made: str) -> None:
    file = tmp_path / "overlay.yaml"
    if made == "folder":
        file.mkdir()
    elif made == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    cli("deploy", file, "--yes").refused(str(file))
    cli("plan", file).refused(str(file))


@pytest.mark.parametrize("prefix", ["10.250.1.0/24", "10.250.1.128/25", "172.16.0.0/23"])
def test_a_prefix_that_a_living_site_has(cli: Cli, overlay: str, tmp_path: Path, content: Content, prefix: str) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(f"{SPEC}  - {{name: oslo, provider: lab, prefixes: [{prefix}]}}\n")
    before = content()
    cli("plan", file).refused("overlaps")
    cli("deploy", file, "--yes").refused("overlaps")
    assert content() == before


@pytest.mark.parametrize(
    "command",
    [
        ("scale-out", "{}", "--provider", "lab", "--yes"),
        ("scale-out", "oslo", "--provider", "{}", "--yes"),
        ("scale-out", "oslo", "--provider", "lab", "--option", "nat={}", "--yes"),
        ("scale-out", "oslo", "--provider", "lab", "--option", "{}", "--yes"),
        ("scale-out", "oslo", "--provider", "lab", "--origin", "{}", "--yes"),
        ("scale-in", "--yes", "--", "{}"),
        ("replace", "--yes", "--", "{}"),
    ],
    ids=["site", "provider", "value", "option", "origin", "scale-in", "replace"],
)
def test_words_that_could_hurt(cli: Cli, overlay: str, content: Content, command: tuple[str, ...]) -> None:
    before = content()
    for name in NAMES:
        cli(*(word.replace("{}", name) for word in command)).refused()
    assert content() == before


@pytest.mark.parametrize("name", ["absent", "../etc", "a;$(id)"])
@pytest.mark.parametrize(
    "command",
    [
        ("plan",),
        ("scale-out", "oslo", "--provider", "lab", "--yes"),
        ("scale-in", "paris", "--yes"),
        ("replace", "paris", "--yes"),
        ("measure",),
        ("maintain",),
        ("status",),
        ("events",),
        ("destroy", "--yes"),
        ("lab", "ls"),
        ("lab", "exec", "paris/gateway", "id"),
        ("lab", "link", "paris", "--down"),
        ("lab", "cut", "paris", "rome"),
        ("lab", "heal", "paris", "rome"),
        ("lab", "kill", "paris/gateway"),
        ("lab", "boot", "paris/gateway"),
        ("lab", "destroy", "--yes"),
    ],
    ids=" ".join,
)
def test_an_overlay_that_is_not_there(
    cli: Cli, overlay: str, content: Content, command: tuple[str, ...], name: str
) -> None:
    before, there = content(), labs()
    at = 2 if command[0] == "lab" else 1
    cli(*command[:at], "--overlay", name, *command[at:]).refused("overlay")
    assert (content(), labs()) == (before, there)


def test_a_region_that_could_hurt(cli: Cli, overlay: str) -> None:
    for name in set(NAMES) - {"a--b", ""}:  # a region may be called so, or have no name
        cli("scale-out", "oslo", "--provider", "lab", "--region", name, "--yes").refused("region")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("scale-in", "oslo", "--yes"), ("site oslo", "clitest", "paris, rome")),
        (("replace", "oslo", "--yes"), ("site oslo", "clitest", "paris, rome")),
        (("destroy", "--overlay", "absent", "--yes"), ("absent", "it knows: clitest")),
        (("scale-out", "oslo", "--provider", "vcloud", "--yes"), ("vcloud", "no driver", "lab")),
        (("scale-out", "oslo", "--provider", "gcp", "--yes"), ("gcp", "lab")),
        (("scale-in", "paris", "--origin", "elastic", "--yes"), ("paris", "specification")),
        (("scale-out", "paris", "--provider", "lab", "--yes"), ("paris", "already", "specification")),
        (("logs", "999"), ("job 999", "overlayctl jobs")),
        (("scale-out", "oslo", "--provider", "lab", "--option", f"nat={'[' * 100_000}", "--yes"), ("truth value",)),
        (("scale-out", "oslo", "--provider", "lab"), ("--yes",)),
        (("scale-in", "paris"), ("--yes",)),
        (("replace", "paris"), ("--yes",)),
        (("destroy",), ("--yes",)),
        (("run", "/absent.xml"), ("/absent.xml", "name a readable")),
        (("lab", "link", "paris", "--delay", "$(id)"), ("--delay", "20us")),
        (("lab", "link", "paris"), ("paris", "lab link --help")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done(
    cli: Cli, overlay: str, content: Content, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = content()
    cli(*command).refused(*words)
    assert content() == before


@pytest.mark.parametrize(
    "command",
    [
        ("plan",),
        ("scale-out", "oslo", "--provider", "lab", "--yes"),
        ("scale-in", "paris", "--yes"),
        ("replace", "paris", "--yes"),
        ("measure",),
        ("maintain",),
        ("status",),
        ("destroy", "--yes"),
    ],
    ids=" ".join,
)
def test_a_store_without_an_overlay(cli: Cli, command: tuple[str, ...]) -> None:
    cli(*command).refused("overlayctl deploy FILE")


CHANGES = [
    ("scale-out", "oslo", "--provider", "lab", "--yes"),
    ("scale-in", "paris", "--yes"),
    ("replace", "paris", "--yes"),
    ("measure",),
    ("maintain",),
    ("destroy", "--yes"),
]


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
@pytest.mark.parametrize("given", [None, "wrong"])
def test_a_passphrase_missing_or_wrong(
    cli: Cli,
    overlay: str,
    content: Content,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    given: str | None,
) -> None:
    if given is None:
        monkeypatch.delenv("OVERLAY_PASSPHRASE")
    else:
        monkeypatch.setenv("OVERLAY_PASSPHRASE", given)
    before = content()
    cli(*command).refused("passphrase")
    assert content() == before


def test_a_passphrase_missing_or_wrong_for_a_deployment(
    cli: Cli, overlay: str, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, fresh = tmp_path / "known.yaml", tmp_path / "fresh.yaml"
    known.write_text(SPEC)
    fresh.write_text(sites("name: oslo, provider: lab"))
    before = content()
    monkeypatch.setenv("OVERLAY_PASSPHRASE", "wrong")
    refused = [cli("deploy", known, "--yes")]
    monkeypatch.delenv("OVERLAY_PASSPHRASE")
    refused += [cli("deploy", file, "--yes") for file in (known, fresh)]
    monkeypatch.setenv("OVERLAY_PASSPHRASE_FILE", "/absent")
    refused.append(cli("deploy", fresh, "--yes"))
    words = ("another passphrase", "OVERLAY_PASSPHRASE", "OVERLAY_PASSPHRASE", "/absent")
    for answer, word in zip(refused, words, strict=True):
        assert (answer.code, answer.out) == (2, "")
        assert word in answer.err.splitlines()[-1]  # below the plan
    assert content() == before


@pytest.mark.parametrize(("content", "word"), [(b"\xff\xfe", "UTF-8"), (b"\n", "empty")], ids=["binary", "empty"])
def test_a_passphrase_file_that_holds_none(
    cli: Cli, overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, word: str
) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    monkeypatch.delenv("OVERLAY_PASSPHRASE")
    monkeypatch.setenv("OVERLAY_PASSPHRASE_FILE", str(file))
    cli("destroy", "--yes").refused(str(file), word)


@pytest.mark.parametrize(
    "command", [("events", "--overlay"), ("logs", "1", "--task"), ("scale-in", "--yes")], ids=" ".join
)
def test_an_argument_that_is_no_text(cli: Cli, overlay: str, content: Content, command: tuple[str, ...]) -> None:
    before = content()
    cli(*command, os.fsdecode(b"caf\xe9")).refused("caf", "UTF-8")
    assert content() == before


def test_a_state_directory_that_cannot_be_made(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERLAY_STORE")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    for command in (["overlays"], ["plan"], ["jobs"], ["destroy", "--yes"]):
        cli(*command).refused(str(tmp_path / "file"), "XDG_STATE_HOME")


def test_backups_that_cannot_be_written_or_read(
    cli: Cli, overlay: str, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content()
    file, junk = tmp_path / "a.backup", tmp_path / "junk"
    junk.write_bytes(b"no backup")
    assert cli("backup", file).code == 0
    cli("backup", tmp_path / "absent" / "b").refused("absent")
    cli("restore", file).refused("store")
    assert content() == before
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{tmp_path}/other.db")
    cli("restore", tmp_path / "absent").refused("absent")
    cli("restore", junk).refused("junk")
    monkeypatch.setenv("OVERLAY_PASSPHRASE", "wrong")
    cli("restore", file).refused("passphrase")
    assert "none" in cli("overlays").out
    monkeypatch.setenv("OVERLAY_PASSPHRASE", PASSPHRASE)
    assert cli("restore", file).code == 0
    assert "clitest: 2 sites" in cli("overlays").out


STORES = {
    "unreachable": ("postgresql://ann:hidden@127.0.0.1:1/x", "127.0.0.1", "check that it runs"),
    "unwritable": ("sqlite:////proc/none/store.db", "/proc/none/store.db", "where you may write"),
    "no URL": ("$(id)", "not a URL"),
    "unknown kind": ("mysql://host/x", "mysql", "use sqlite or postgresql"),
    "folder": ("sqlite:///{file.parent}", "unable to open", "new one in a folder"),
    "another file": ("sqlite:///{file.parent}/overlay.yaml", "overlay.yaml", "name a file of this package"),
    "full disk": ("sqlite:////dev/full", "disk", "make room"),
    "read-only": ("sqlite:///file:{file}?mode=ro&uri=true", "readonly", "right to write"),
}


@pytest.mark.parametrize("case", STORES)
def test_a_store_that_cannot_be_used(
    cli: Cli, overlay: str, store_file: Path, content: Content, tmp_path: Path, case: str
) -> None:
    url, *words = STORES[case]
    file = tmp_path / "overlay.yaml"
    file.write_text(SPEC.replace("rome", "oslo"))
    before = content()
    answer = cli("--store", url.format(file=store_file), "deploy", file, "--yes")
    answer.refused(*words)
    assert "hidden" not in answer.err
    assert content() == before


@pytest.mark.parametrize("command", [("overlays",), ("jobs",), ("destroy", "--yes")], ids=" ".join)
def test_a_store_of_a_newer_release(cli: Cli, overlay: str, content: Content, command: tuple[str, ...]) -> None:
    with Store.open(default_store_url()) as store, store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = content()
    cli(*command).refused("schema 9999", "install the release")
    assert content() == before


def test_a_plan_of_another_overlay_than_the_file_s(cli: Cli, overlay: str, tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(SPEC)
    cli("plan", file, "--overlay", "oslo").refused("clitest", "'oslo'", "--overlay")
    assert cli("plan", file, "--overlay", "clitest").code == 0


def test_a_machine_that_cannot_have_a_lab(
    cli: Cli, overlay: str, content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before anything is changed, be it only in the store."""
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    file = tmp_path / "overlay.yaml"
    file.write_text(SPEC)
    with Store.open(default_store_url()) as store:
        fields = {"machine": "m", "public_address": IPv4Address("198.18.0.2"), "host_key": "k", "request": "r"}
        store.update_site(overlay, "paris", "test", **fields, host_key_seeded=False, state=SiteState.CONNECTED)
        assert store.site(overlay, "paris").ready
    before = content()
    for command in (*CHANGES, ("plan",), ("status",)):
        cli(*command).refused("root", "sudo")
    answer = cli("deploy", file, "--yes")
    assert (answer.code, answer.out) == (2, "")
    assert "root (start it with sudo)" in answer.err.splitlines()[-1]  # below the plan
    assert content() == before


def test_a_backup_is_not_sealed_with_a_passphrase_that_opens_nothing(
    cli: Cli, overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(default_store_url()) as store:
        ensure_key(store, overlay, lambda name: store.vault(name, PASSPHRASE))
    monkeypatch.setenv("OVERLAY_PASSPHRASE", "wrong")
    cli("backup", tmp_path / "a.backup").refused("another passphrase")
    assert not (tmp_path / "a.backup").exists()


def test_the_locks_of_a_job_that_was_killed_are_free_for_the_next(overlay: str) -> None:
    """Ctrl-C kills the tasks, which then let go of nothing."""
    with Store.open(default_store_url()) as store:
        killed, running = (Jobs(store).create("Deploy_Overlay", "file", {}) for _ in range(2))
        Jobs(store).write(killed, {"status": "KILLED", "finished": now()}, [], [], [])
        with store.lease("a", f"job {killed}", ttl_s=600), store.lease("b", f"job {running}", ttl_s=600):
            free_dead_jobs(store)
            assert store.lease_owners() == {f"job {running}"}


JOB = (
    '<job xmlns="urn:proactive:jobdescriptor:3.13" name="Job"><variables><variable name="N" value="1" '
    'model="PA:INTEGER[1,9]"/></variables><taskFlow>{}</taskFlow></job>'
)
TASK = (
    '<task name="{name}">{depends}<scriptExecutable><script><code language="{language}">result = 1</code></script>'
    "</scriptExecutable></task>"
)


def task(name: str = "Task", after: str = "", language: str = "cpython") -> str:
    depends = f'<depends><task ref="{after}"/></depends>' if after else ""
    return TASK.format(name=name, depends=depends, language=language)


WORKFLOWS = {
    "malformed": ("<job", (), "not well-formed"),
    "document type": ('<!DOCTYPE job [<!ENTITY a "a">]>' + JOB.format(task()), (), "document type"),
    "cyclic": (JOB.format(task("One", "Two") + task("Two", "One")), (), "One"),
    "unknown element": (JOB.format("<colour/>" + task()), (), "colour"),
    "unsupported language": (JOB.format(task(language="groovy")), (), "groovy"),
    "value outside its model": (JOB.format(task()), ("-v", "N=12"), "N"),
    "no assignment": (JOB.format(task()), ("-v", "N"), "NAME=VALUE"),
}


@pytest.mark.parametrize("case", WORKFLOWS)
def test_a_bad_workflow(cli: Cli, tmp_path: Path, content: Content, case: str) -> None:
    written, options, word = WORKFLOWS[case]
    file = tmp_path / "job.xml"
    file.write_text(written)
    cli("overlays")
    before = content()
    cli("run", file, *options).refused(word)
    answer = cli("run", file, *options, "--output", "json")
    assert (answer.code, answer.out.startswith('{"refused": '), answer.err) == (2, True, "")
    assert content() == before


def test_an_undeclared_variable_is_added_with_a_warning_and_progress_is_told_on_standard_error(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "job.xml"
    file.write_text(JOB.format(task()))
    answer = cli("run", file, "-v", "M=1")
    assert answer.code == 0
    assert "warning: " in answer.err
    assert "Task: FINISHED" in answer.err
    assert "warning" not in answer.out


def test_a_task_that_failed_is_told_and_ends_with_1_though_its_job_is_finished(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "job.xml"
    file.write_text(JOB.format(task(language="ruby")))
    answer = cli("run", file)
    assert answer.code == 1
    assert "Task: Failed to execute task: No Script Engine Found for name or extension ruby" in answer.err
    assert json.loads(cli("run", file, "--output", "json").out)["status"] == "FINISHED"


def test_a_real_process_ends_with_2_and_one_line(tmp_path: Path) -> None:
    """What a shell sees, without a terminal."""
    file = tmp_path / "overlay.yaml"
    file.write_text(sites("name: paris, provider: gcp"))
    environment = {**os.environ, "OVERLAY_STORE": f"sqlite:///{tmp_path}/store.db"}
    for arguments in (["deploy", str(file), "--yes"], ["scale-in", "paris", "--yes"], ["run", "/absent.xml"]):
        command = [sys.executable, "-m", "proactive_tasks.cli", *arguments]
        ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1), ended.stderr


SULLEN = "print('Task: no paint; buy some'); print('bye'); raise SystemExit(1)"


def test_a_task_that_failed_is_told_with_what_it_said_last_of_itself(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "job.xml"
    file.write_text(JOB.format(task()).replace("result = 1", SULLEN))
    answer = cli("run", file)
    assert answer.code == 1
    head, cause = answer.err.splitlines()[-2:]
    assert head.startswith("overlayctl: job ")
    assert "overlayctl logs " in head
    assert cause == "overlayctl: Task: no paint; buy some"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_told(cli: Cli, overlay: str, unbuffered: str) -> None:
    """As on a disk that is full, whether Python keeps output back or not."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "proactive_tasks.cli", "overlays"]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr == "overlayctl: standard output: No space left on device; the answer was not written, ask again\n"
