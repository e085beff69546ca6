"""A gateway whose cloud-init failed says so at once, with the last lines of its log."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from proactive_tasks.gateway.agent import Agent
from proactive_tasks.gateway.machine import Machine
from proactive_tasks.gateway.session import GatewaySession
from proactive_tasks.overlay.errors import GatewayError


def on(root, log="", *, through=False, programs=()):
    """What the agent tells of a machine with this log and these programs."""
    (root / "var/log").mkdir(parents=True)
    (root / "var/log/cloud-init-output.log").write_text(log)
    for name in programs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if through:
        (root / "run/cloud-init").mkdir(parents=True)
        (root / "run/cloud-init/result.json").touch()
    return Agent(Machine(root)).first_boot()


class Answers(GatewaySession):
    """A session whose agent gives these answers, the last one for ever."""

    def __init__(self, *answers):
        self._address, self.answers = IPv4Address("192.0.2.1"), list(answers)

    def _ask(self, *_words, **_more):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_what_lacks_is_named_and_the_log_s_end_with_it(tmp_path):
    told = on(tmp_path, "one\ntwo\nthree\nfour\nErr:1 mirror unreachable\nE: Unable to locate package bird2\n")
    assert "/usr/sbin/bird" in told["missing"]
    assert told["log"].endswith("Err:1 mirror unreachable | E: Unable to locate package bird2")
    assert "one" not in told["log"]
    assert told["through"] is False


def test_a_machine_with_everything_has_nothing_to_tell(tmp_path):
    programs = ["usr/sbin/openvpn", "usr/sbin/bird", "usr/sbin/nft", "usr/bin/openssl", "usr/sbin/tc"]
    assert on(tmp_path, "noise\n", programs=programs, through=True) == {"missing": [], "through": True, "log": ""}


def test_cloud_init_that_ended_without_the_programs_is_an_error_at_once():
    session = Answers({"missing": ["/usr/sbin/bird"], "through": True, "log": "E: no mirror"})
    with pytest.raises(GatewayError, match=r"/usr/sbin/bird not installed when cloud-init had ended; .*E: no mirror"):
        session.ready(3600)


def test_cloud_init_that_goes_on_is_waited_for():
    session = Answers(
        {"missing": ["/usr/sbin/bird"], "through": False, "log": ""}, {"missing": [], "through": True, "log": ""}
    )
    session.ready(60)
    with pytest.raises(GatewayError, match="not installed within 0 s"):
        Answers({"missing": ["/usr/sbin/bird"], "through": False, "log": "..."}).ready(0)
