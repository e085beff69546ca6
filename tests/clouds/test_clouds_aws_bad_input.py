"""What AWS refuses: one message that names the call, its answer and the next step; what was made is recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from proactive_tasks.clouds import driver as driver_of
from proactive_tasks.clouds.provider import NoJournal
from proactive_tasks.lab.cloud.aws.emulator import ACCESS_KEY
from proactive_tasks.lab.cloud.aws.rules import Account
from proactive_tasks.overlay.errors import InputError, OverlayError, ProviderError
from tests.clouds.emulated_aws import (
    KEY,
    REGION,
    Place,
    action,
    deploy,
    emulated_aws,
    fresh,
    left,
    lines,
    provider,
    site,
)
from tests.clouds.emulated_aws import order as order_of


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with emulated_aws() as made:
        yield made


@pytest.fixture
def empty(place: Place) -> Iterator[Place]:
    assert left(place) == []
    place.trouble.calls.clear()
    yield place
    place.app.account = Account(ACCESS_KEY)
    place.trouble.judge = lambda _request: None
    provider().release("presto", site(), NoJournal(), lambda _line: None)


def _quota(name: str, value: int) -> Callable[[Account], None]:
    return lambda account: account.quotas.update({name: value})


def _deny(denied: str) -> Callable[[Account], None]:
    return lambda account: account.denied.add(denied)


def _ends(account: Account) -> None:
    account.fails_to_start = "Client.VolumeLimitExceeded: Volume limit exceeded"


def _nothing(_account: Account) -> None:
    pass


Set = Callable[[Account], None]
REFUSED: list[tuple[Set, dict[str, Any], str, int]] = [
    (
        _deny("ModifyNetworkInterfaceAttribute"),
        {},
        (
            r"ModifyNetworkInterfaceAttribute\(SourceDestCheck=False\) on eni-\w+ refused: UnauthorizedOperation: You "
            "are not authorized to perform this operation; grant ec2:ModifyNetworkInterfaceAttribute to these"
        ),
        9,
    ),
    (_deny("DescribeVpcs"), {}, "DescribeVpcs.* refused: UnauthorizedOperation: .*; grant ec2:DescribeVpcs", 0),
    (_quota("vpcs", 1), {}, r"CreateVpc\(.*refused: VpcLimitExceeded: .*; raise the quota", 0),
    (_quota("addresses", 0), {}, r"AllocateAddress\(.*refused: AddressLimitExceeded: .*; raise the quota", 9),
    (_quota("vcpus", 1), {}, r"RunInstances\(.*UserData=\.\.\..*refused: VcpuLimitExceeded: .*; raise the quota", 11),
    (
        _nothing,
        {"image": "ami-0123456789abcdef0"},
        r"RunInstances\(.*refused: InvalidAMIID.NotFound: .*; correct the option image",
        11,
    ),
    (_nothing, {"image": "debian"}, r"RunInstances\(.*InvalidAMIID.Malformed: .*; correct the option image", 11),
    (_nothing, {"instance_type": "c1.medium"}, "RunInstances.*Unsupported: .*; choose another instance_type", 11),
    (
        _nothing,
        {"instance_type": "t9.huge"},
        "RunInstances.*InvalidParameterValue: Invalid value 't9.huge' for Inst",
        11,
    ),
    (_nothing, {"key_pair": "lost"}, "RunInstances.*InvalidKeyPair.NotFound: .*; correct the option key_pair", 10),
    (_nothing, {"placement_group": "far"}, "RunInstances.*InvalidPlacementGroup.Unknown: .*; correct the option", 11),
    (
        _nothing,
        {"dedicated_host": "h-1"},
        "RunInstances.*InvalidHostID.NotFound: .*; correct the option dedicated_host",
        11,
    ),
    (_nothing, {"availability_zone": "eu-central-1z"}, r"CreateSubnet.*InvalidParameterValue: .*\(eu-central-1z\)", 1),
    (
        _ends,
        {},
        r"instance i-\w+, made by RunInstances, ended right after its start \(\S+\): .*Volume limit exceeded",
        12,
    ),
]


@pytest.mark.parametrize(("set_up", "options", "message", "made"), REFUSED)
def test_a_refusal_is_one_message_and_what_was_made_is_recorded(
    empty: Place, set_up: Set, options: dict[str, Any], message: str, made: int
) -> None:
    set_up(empty.app.account)
    journal, order = NoJournal(), order_of(site(options=options))
    with pytest.raises(ProviderError, match=message) as told:
        deploy(order, journal=journal)
    assert "\n" not in str(told.value)
    assert "a-gateway" not in str(told.value)
    assert KEY not in str(told.value)
    assert len([entry for entry in journal.entries.values() if entry]) == made
    empty.app.account = Account(ACCESS_KEY)
    deploy(order_of(site(options={})), journal=journal)  # put right, it goes on from there
    assert lines(order_of(site())) == []


def test_a_token_that_expires_half_way_is_renewed_and_the_rest_is_done(empty: Place) -> None:
    def judge(request: Any) -> None:
        empty.app.account.expired = empty.app.account.expired or action(request) == "CreateRouteTable"

    empty.trouble.judge = judge
    journal = NoJournal()
    with pytest.raises(ProviderError, match=r"CreateRouteTable.*RequestExpired: .*; renew the credentials"):
        deploy(order_of(site()), journal=journal)
    assert [kind for (kind, _name), identifier in journal.entries.items() if identifier] == [
        "VPC",
        "subnet",
        "subnet",
        "Internet gateway",
    ]
    empty.app.account.expired, empty.trouble.judge = False, lambda _request: None
    deploy(order_of(site()), journal=journal)
    assert lines(order_of(site())) == []


def test_an_address_that_is_taken_is_named(empty: Place) -> None:
    ec2, order = empty.client(), order_of(site())
    empty.app.account.denied.add("CreateSecurityGroup")
    with pytest.raises(ProviderError, match="CreateSecurityGroup"):
        deploy(order)
    empty.app.account.denied.clear()
    subnet = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.1.0.240/28"]}])["Subnets"][0][
        "SubnetId"
    ]
    eni = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.1.0.254")["NetworkInterface"]
    with pytest.raises(
        ProviderError, match=r"CreateNetworkInterface.*InvalidIPAddress.InUse: Address 10.1.0.254 is in"
    ):
        deploy(order)
    with pytest.raises(
        ProviderError, match=rf"holds what is not this overlay's: {eni['NetworkInterfaceId']}; remove it"
    ):
        provider().release("presto", order.site, NoJournal(), lambda _line: None)
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])


def test_a_subnet_that_is_taken_is_named(empty: Place) -> None:
    ec2, order = empty.client(), order_of(site())
    empty.app.account.denied.add("CreateSubnet")
    with pytest.raises(ProviderError, match="CreateSubnet"):
        deploy(order)
    empty.app.account.denied.clear()
    vpc = ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.1.0.0/24"]}])["Vpcs"][0]["VpcId"]
    taken = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/26")["Subnet"]["SubnetId"]
    with pytest.raises(ProviderError, match=r"CreateSubnet.*InvalidSubnet.Conflict: .*; remove the subnet"):
        deploy(order)
    ec2.delete_subnet(SubnetId=taken)


def test_a_region_that_is_none_is_refused_before_any_call(empty: Place) -> None:
    for region, message in (("mars-north-1", "site frankfurt: AWS has no region 'mars-north-1'; correct it"),):
        with pytest.raises(InputError, match=message):
            lines(order_of(site(region=region)))
    assert empty.calls() == []
    assert provider().facts("presto", site(region="")).gateway is None  # the one of the environment


def test_a_profile_that_is_none_is_refused(empty: Place) -> None:
    with pytest.raises(InputError, match=r"site frankfurt: .*\(nobody\).*; correct the option profile"):
        lines(order_of(site(options={"profile": "nobody"})))
    assert empty.calls() == []


def test_more_hosts_than_the_subnet_holds_are_refused(empty: Place) -> None:
    deploy(order_of(site()))
    empty.trouble.calls.clear()
    with pytest.raises(InputError, match=r"site frankfurt: 200 hosts, but 10\.1\.0\.0/24 holds 123; lower it"):
        provider().attach(order_of(site(hosts=200)), NoJournal(), lambda _line: None)
    assert empty.written() == []


def test_hosts_want_a_network(empty: Place) -> None:
    with pytest.raises(ProviderError, match="has no network for application hosts yet; deploy it first"):
        provider().attach(order_of(site(hosts=1)), NoJournal(), lambda _line: None)


def test_wrong_credentials_are_refused_in_one_line(empty: Place) -> None:
    with mock.patch.dict(os.environ, {"AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONGW"}):
        wrong = fresh()
        with pytest.raises(ProviderError, match=r"DescribeVpcs.* refused: AuthFailure: .*; check the credentials"):
            wrong.facts("presto", site())


def test_without_credentials_nothing_is_tried(empty: Place, tmp_path: Any) -> None:
    nowhere = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with mock.patch.dict(os.environ, nowhere):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            os.environ.pop(name, None)
        with pytest.raises(InputError, match=r"aws: no credentials; set AWS_ACCESS_KEY_ID"):
            driver_of("aws").check()
        with pytest.raises(InputError, match=r"aws: DescribeVpcs.*: Unable to locate credentials; check"):
            fresh().facts("presto", site())
        (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = A\naws_secret_access_key = B\n")
        driver_of("aws").check()  # a site can name the profile
    assert empty.calls() == []
    driver_of("aws").check()


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://127.0.0.1:9", r"DescribeVpcs.*127\.0\.0\.1:9.*; check the network and the endpoint"),
        ("nonsense", "site frankfurt: Invalid endpoint: nonsense; check the configuration of AWS"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_named(
    empty: Place, monkeypatch: pytest.MonkeyPatch, endpoint: str, message: str
) -> None:
    monkeypatch.setattr("proactive_tasks.clouds.aws.api.ATTEMPTS", 1)
    with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": endpoint}), pytest.raises(OverlayError, match=message):
        fresh().facts("presto", site())


def test_a_vpc_of_our_name_with_other_addresses_is_refused(empty: Place) -> None:
    deploy(order_of(site()))
    moved = replace(site(), subnet=site("x", 3).subnet)
    with pytest.raises(ProviderError, match=r"VPC vpc-\w+ has 10.1.0.0/24, but site frankfurt has 10.1.3.0/24"):
        lines(order_of(moved))
    assert site().region == REGION
