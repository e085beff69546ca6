"""`scripts/credentials` in this process: values from anywhere but an argument, and never shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from proactive_tasks.clouds.credentials import KEYS
from proactive_tasks.console import credentials
from proactive_tasks.console.credentials import NAME, app
from proactive_tasks.console.script import main
from proactive_tasks.scheduler.client.needs import CLOUDS
from tests.commands import Said, call
from tests.scheduler.servers import PASSWORD, Answer, Asked, FakeServer

VALUE = "correct horse battery staple"
BASE = "/rest/scheduler/credentials/"

Run = Callable[..., Said]


@pytest.fixture
def kept(server: FakeServer) -> dict[str, str]:
    """What the server holds."""
    held: dict[str, str] = {}

    def put(asked: Asked) -> Answer:
        held[asked.path.removeprefix(BASE)] = dict(asked.form)["value"]
        return Answer(204)

    def remove(asked: Asked) -> Answer:
        held.pop(asked.path.removeprefix(BASE))
        return Answer(204)

    server.on("POST", f"{BASE}.+", put)
    server.on("DELETE", f"{BASE}.+", remove)
    server.on("GET", BASE, lambda _: list(held))
    return held


@pytest.fixture
def run(
    server: FakeServer, kept: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("PROACTIVE_URL", server.url)
    monkeypatch.setenv("PROACTIVE_PASSWORD", PASSWORD)
    for key in credentials.package_keys():
        monkeypatch.delenv(key, raising=False)
        monkeypatch.delenv(f"{key}_FILE", raising=False)

    def run(*arguments: object, typed: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        said = call(capsys, NAME, partial(main, app, NAME), *arguments)
        assert VALUE not in said.out + said.err
        return said

    return run


refused = Said.refused


def test_a_value_is_read_from_standard_input(run: Run, kept: dict[str, str], server: FakeServer) -> None:
    assert run("set", "OVERLAY_PASSPHRASE", typed=f"{VALUE}\n").out == f"OVERLAY_PASSPHRASE: set at {server.url}\n"
    assert kept == {"OVERLAY_PASSPHRASE": VALUE}


def test_a_value_is_asked_without_echo_on_a_terminal(
    run: Run, kept: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("getpass.getpass", lambda prompt: VALUE if prompt == "value of KEY: " else "")
    monkeypatch.setattr(io, "StringIO", Terminal)
    assert run("set", "KEY").code == 0
    assert kept == {"KEY": VALUE}


def test_a_value_is_read_from_a_file_or_the_environment(
    run: Run, kept: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "word").write_text(f"{VALUE}\n")
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
    (tmp_path / "key").write_text(key)
    monkeypatch.setenv("MY_SECRET", f" {VALUE} ")
    assert run("set", "A", "--from-file", tmp_path / "word").code == 0
    assert run("set", "OVERLAY_EDGE_KEY", "--from-file", tmp_path / "key").code == 0
    assert run("set", "B", "--from-env", "MY_SECRET").code == 0
    assert kept == {"A": VALUE, "OVERLAY_EDGE_KEY": key, "B": f" {VALUE} "}


def test_a_value_is_never_an_argument(run: Run, kept: dict[str, str]) -> None:
    assert run("set", "KEY", "plain").code == 2
    assert not kept


def test_all_that_the_environment_holds_is_set_and_nothing_else(
    run: Run, kept: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passphrase").write_text(f"{VALUE}\n")
    monkeypatch.setenv("OVERLAY_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    said = run("set-all")
    assert (said.code, len(said.out.splitlines())) == (0, 2)
    assert kept == {"OVERLAY_PASSPHRASE": VALUE, "AWS_ACCESS_KEY_ID": "AKIA"}


def test_the_list_tells_what_is_set_and_what_providers_lack(run: Run, kept: dict[str, str]) -> None:
    kept.update(OVERLAY_PASSPHRASE=VALUE, AWS_ACCESS_KEY_ID=VALUE, MINE=VALUE, OS_AUTH_URL=VALUE)
    kept.update(OS_AUTH_TYPE=VALUE, OS_APPLICATION_CREDENTIAL_ID=VALUE, OS_APPLICATION_CREDENTIAL_SECRET=VALUE)
    found = json.loads(run("list", "--output", "json").out)
    assert found["set"] == sorted(kept)
    assert found["providers"] == {
        "aws": {"ready": False, "lacks": ["AWS_SECRET_ACCESS_KEY"]},
        "azure": {"ready": False, "lacks": list(CLOUDS["azure"][0])},
        "openstack": {"ready": True, "lacks": []},
        "edge": {"ready": False, "lacks": ["OVERLAY_EDGE_KEY"]},
        "lab": {"ready": True, "lacks": []},
    }
    shown = run("list").out
    for word in ("opens the overlay's keys", "provider aws", "not of this package", "lacks AWS_SECRET_ACCESS_KEY"):
        assert word in shown


def test_providers_ask_for_keys_that_tasks_look_for() -> None:
    assert {key for ways in CLOUDS.values() for way in ways for key in way} <= set(KEYS)
    assert set(credentials.purposes()) == set(credentials.package_keys())


def test_a_credential_is_removed_if_it_is_there(run: Run, kept: dict[str, str], server: FakeServer) -> None:
    kept.update(A="x", B="y")
    assert run("remove", "A").out == f"A: removed from {server.url}\n"
    assert kept == {"B": "y"}
    refused(run("remove", "A"), "credential A: is not set", "set are: B")


def test_values_that_are_none_are_refused(run: Run, kept: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 65_537)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "nul").write_bytes(b"a\0b")
    refused(run("set", "KEY", typed="\n"), "the value is empty", "scripts/credentials remove KEY")
    refused(run("set", "KEY", "--from-file", tmp_path / "none"), "No such file")
    refused(run("set", "KEY", "--from-file", tmp_path / "large"), "more than 65536 bytes")
    refused(run("set", "KEY", "--from-file", tmp_path / "binary"), "not UTF-8 text")
    refused(run("set", "KEY", "--from-file", tmp_path / "nul"), "no text")
    refused(run("set", "KEY", "--from-env", "NOT_SET"), "environment variable NOT_SET")
    refused(run("set", "KEY", "--from-env", "A", "--from-file", "b"), "choose one")
    refused(run("set", "", typed="x"), "credential key ''")
    refused(run("set-all"), "none of this package's credentials")
    assert not kept
