"""Every fifth call to AWS fails at random: a site is deployed and released all the same, and nothing is made twice."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from proactive_tasks.clouds.provider import NoJournal
from tests.clouds.emulated_aws import Place, deploy, emulated_aws, left, lines, provider, site
from tests.clouds.emulated_aws import order as order_of
from tests.clouds.trouble import LOST, RESET, Answer, Request, Verdict

SEEDS = 20


def refusal(code: str, status: int) -> Answer:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>{code}</Code><Message>Later.</Message>'
        "</Error></Errors><RequestID>1</RequestID></Response>"
    )
    return Answer(status, {"Content-Type": "text/xml;charset=UTF-8"}, body.encode())


KINDS: list[Verdict] = [refusal("RequestLimitExceeded", 503), refusal("InternalError", 500), RESET, LOST]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with emulated_aws() as made:
        yield made


@pytest.mark.parametrize("seed", range(SEEDS))
def test_one_in_five_calls_fails(place: Place, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.005)
    rolled, lock, journal = random.Random(seed), threading.Lock(), NoJournal()

    def judge(_request: Request) -> Verdict:
        with lock:
            return rolled.choice(KINDS) if rolled.random() < 0.2 else None

    order = order_of(site(f"seed{seed}", seed, hosts=1))
    place.trouble.judge = judge
    try:
        made = deploy(order, journal=journal)
        provider().attach(order, journal, lambda _line: None)
    finally:
        place.trouble.judge = lambda _request: None
    assert made.running
    assert lines(order) == []
    held = place.client()
    assert len(held.describe_vpcs()["Vpcs"]) == 2  # the default one, too
    assert len(held.describe_addresses()["Addresses"]) == 1
    assert len(held.describe_internet_gateways()["InternetGateways"]) == 1
    assert len(held.describe_network_interfaces()["NetworkInterfaces"]) == 2
    place.trouble.judge = judge
    try:
        provider().release("presto", order.site, journal, lambda _line: None)
    finally:
        place.trouble.judge = lambda _request: None
    assert left(place) == []
    assert journal.entries == {}
