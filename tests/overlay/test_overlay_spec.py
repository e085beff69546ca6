"""A specification is read whole or refused with one message: file, line, key, what is wrong, what to do."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from proactive_tasks.overlay.errors import SpecificationError
from proactive_tasks.overlay.spec import OverlaySpec, load_spec, schema, site_spec

HEAD = "version: 1\noverlay: presto\n"


def sites(*lines: str) -> str:
    return HEAD + "sites:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def test_a_short_specification_means_the_defaults() -> None:
    spec = load_spec(sites("name: paris, provider: lab"))
    assert (spec.network, spec.transit_network) == (IPv4Network("10.0.0.0/8"), IPv4Network("100.64.0.0/10"))
    assert (spec.topology, spec.vpn, spec.cooldown_s) == ("mesh", "openvpn", 3600)
    assert (spec.bfd.interval_ms, spec.bfd.multiplier) == (180, 5)
    assert (spec.split.provider_bits, spec.split.deployment_bits, spec.split.host_bits) == (8, 8, 8)
    assert spec.sites[0].hosts == 0


@pytest.mark.parametrize(
    ("settings", "subnet"),
    [
        ("", "10.250.1.0/24"),
        ("host_bits: 12\n", "10.250.16.0/20"),
        ("network: 172.16.0.0/12\n", "172.31.161.0/24"),
        ("network: 192.168.0.0/16\nprovider_bits: 4\nproviders: {lab: 9}\n", "192.168.145.0/24"),
        ("host_bits: 4\ndeployment_bits: 12\n", "10.250.0.16/28"),
    ],
)
def test_the_split_of_the_network_follows_the_specification(settings: str, subnet: str) -> None:
    assert str(load_spec(HEAD + settings).split.subnet("lab", 1)) == subnet


def test_a_specification_survives_the_store_s_form() -> None:
    spec = load_spec(sites("name: paris, provider: lab, prefixes: [172.16.0.0/24], options: {nat: true, loss: 0.5}"))
    assert OverlaySpec.model_validate(json.loads(spec.model_dump_json())) == spec


BAD_NAMES = (
    "two words",
    "o'hara",
    "a\\nb",
    "a;b",
    "$(id)",
    "../etc",
    "x" * 300,
    "münchen",
    "Paris",
    "1a",
    "a-",
    "a--b",
    "",
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_hurt_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(SpecificationError, match=r"line 4, sites\[0\]\.name: .* is not a name; use ") as caught:
        load_spec(sites(f'name: "{name}", provider: lab'))
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    with pytest.raises(SpecificationError, match=r"overlay: .* is not a name"):
        load_spec(f'version: 1\noverlay: "{name}"\n')


PARIS = "name: paris, provider: lab"
MANY = sites(*(f"name: site{number}, provider: lab" for number in range(257)))

BAD = [
    ("", 1, "empty"),
    ("- a\n- b\n", 1, "not a mapping"),
    ("just words", 1, "not a mapping"),
    ("version: [1\n", 2, "not valid YAML"),
    ("version: 1\noverlay: a\n---\nversion: 1\n", 3, "second document"),
    (
        "version: 2\noverlay: a\nfuture: 1\n",
        1,
        "version: 2 is not a version that this release reads; write 'version: 1'",
    ),
    ("overlay: a\n", 1, "version: is missing; add it"),
    ("version: true\noverlay: a\n", 1, "version: True is not a version"),
    (HEAD + "colour: red\n", 3, "colour: unknown key"),
    (sites("name: paris, provider: lab, colour: red"), 4, r"sites[0].colour: unknown key"),
    (HEAD + "overlay: b\n", 3, "the key 'overlay' is there twice"),
    (HEAD + "sites: &s []\nproviders: *s\n", 4, "an alias (*s) is not accepted"),
    (HEAD + "sites: !!python/object:os.system []\n", 3, "a tag"),
    (HEAD + "sites: " + "[" * 100_000, 3, "nested deeper"),
    (HEAD + "cooldown_s: 2020-99-99\n", 3, "is not a value"),
    (HEAD + "? [a]\n: b\n", 3, "a key is not a word"),
    (HEAD + "1: b\n", 3, "a key is not a word"),
    ("version: 1\noverlay: \x01\n", 1, "characters that YAML does not allow"),
    (sites(PARIS, "name: rome, provider: gcp"), 5, "sites[1].provider: 'gcp' is not a provider; use one of aws, azure"),
    (HEAD + "vpn: wireguard\n", 3, "vpn: the back end wireguard is not available yet; use openvpn"),
    (HEAD + "vpn: ipsec\n", 3, "vpn: the back end ipsec is not available yet"),
    (HEAD + "vpn: pptp\n", 3, "vpn: 'pptp' is not a back end; use openvpn"),
    (HEAD + "topology: ring\n", 3, "topology: 'ring': input should be 'mesh', 'star', 'tree' or 'on-demand'"),
    (sites(PARIS, PARIS), 5, "sites[1].name: site paris is there twice; rename one"),
    (HEAD + "network: 8.0.0.0/8\n", 3, "network: 8.0.0.0/8 is not private"),
    (HEAD + "network: 10.1.0.0/8\n", 3, "has bits set beyond its length; write 10.0.0.0/8"),
    (HEAD + "network: [10]\n", 3, "is not an IPv4 prefix; write one like '10.0.0.0/8'"),
    (HEAD + "network: fd00::/8\n", 3, "is not an IPv4 prefix"),
    (HEAD + "network: 10.0.0.0/20\n", 3, "network: 10.0.0.0/20 has 12 bits, but provider_bits 8"),
    (HEAD + "network: 10.0.0.0/16\nsites:\n  - {name: a, provider: lab}\n  - {name: b, provider: lab}\n", 6, "no free"),
    (HEAD + "host_bits: 17\n", 3, "host_bits: 17: input should be less than or equal to 16"),
    (HEAD + "host_bits: 3\n", 3, "host_bits: 3: input should be greater"),
    (HEAD + "host_bits: true\n", 3, "host_bits: True: input should be a valid integer"),
    (HEAD + "host_bits: '8'\n", 3, "host_bits: '8': input should be a valid integer"),
    (HEAD + "host_bits: 12\ndeployment_bits: 8\n", 1, "host_bits 12 need 28"),
    (MANY, 260, "site256: provider lab has no free deployment left (256"),
    (HEAD + "transit_network: 10.200.0.0/16\n", 3, "transit_network: 10.200.0.0/16 overlaps network 10.0.0.0/8"),
    (HEAD + "transit_network: 198.18.0.0/16\n", 3, "neither private nor shared"),
    (HEAD + "transit_network: 100.64.0.0/32\n", 3, "holds no tunnel"),
    (
        "transit_network: 100.64.0.0/30\n" + sites(*(f"name: site{n}, provider: lab" for n in range(3))),
        1,
        "holds 2 tunnels, but the topology has 3 links",
    ),
    (HEAD + "providers: {gcp: 9}\n", 3, "providers.gcp: 'gcp' is not a provider"),
    (HEAD + "providers: {lab: 255}\n", 3, "providers.lab: provider lab has number 255"),
    (HEAD + "providers: {lab: 1, aws: 1}\n", 3, "both have number 1"),
    (
        sites(PARIS + ", prefixes: [172.16.0.0/24]", "name: rome, provider: lab, prefixes: [172.16.0.0/24]"),
        5,
        "sites[1].prefixes[0]: site rome: prefix 172.16.0.0/24 overlaps 172.16.0.0/24 of site paris",
    ),
    (
        sites(PARIS + ", prefixes: [172.16.0.0/24]", "name: rome, provider: lab, prefixes: [172.16.0.128/25]"),
        5,
        "172.16.0.128/25 overlaps 172.16.0.0/24 of site paris",
    ),
    (sites(PARIS + ", prefixes: [172.16.0.0/24, 172.16.0.0/23]"), 4, "overlaps 172.16.0.0/24 of site paris"),
    (sites(PARIS + ", prefixes: [100.64.1.0/24]"), 4, "overlaps transit_network 100.64.0.0/10; set transit_network"),
    (sites(PARIS + ", prefixes: [10.0.0.0/8]"), 4, "covers the overlay's whole network"),
    (sites(PARIS + ", prefixes: [0.0.0.0/0]"), 4, "cannot be a site's network"),
    (sites(PARIS + ", prefixes: [224.0.1.0/24]"), 4, "cannot be a site's network"),
    (sites(PARIS + ", hosts: 254"), 4, "sites[0].hosts: 254 hosts, but a /24 of lab holds 252"),
    (sites(PARIS + ", hosts: -1"), 4, "sites[0].hosts: -1: input should be greater"),
    (sites(PARIS + ", region: 'a b'"), 4, "sites[0].region: 'a b' is not a region"),
    (sites(PARIS + ", options: {nat: 1}"), 4, "sites[0].options.nat: 1 is not a truth value"),
    (sites(PARIS + ", options: {loss: 2}"), 4, "sites[0].options.loss: 2 is not a number from 0 to 1"),
    (sites(PARIS + ", options: {delay_ms: true}"), 4, "True is not a number"),
    (sites(PARIS + ", options: {delay_ms: .nan}"), 4, "nan is not a number"),
    (sites(PARIS + ", options: {speed: 1}"), 4, "sites[0].options.speed: unknown option; known are delay_ms"),
    (sites("name: a, provider: aws, options: {nat: true}"), 4, "unknown option; known are instance_type"),
    (sites("name: a, provider: vcloud, options: {nat: true}"), 4, "a site of vcloud has none"),
    (sites(PARIS) + "topology: star\nhub: rome\n", 6, "hub: 'rome' is not a site"),
    (sites(PARIS) + "hub: paris\n", 5, "hub: 'paris' has no meaning in topology mesh"),
    (sites(PARIS + ", parent: rome") + "topology: tree\n", 4, "sites[0].parent: 'rome' is not a site"),
    (sites(PARIS + ", parent: b", "name: b, provider: lab, parent: paris") + "topology: tree\n", 3, "back to itself"),
    (HEAD + "bfd: {interval_ms: 1}\n", 3, "bfd.interval_ms: 1: input should be greater"),
    (HEAD + "controllers: [here]\n", 3, "controllers[0]: 'here' is not an IPv4 prefix"),
    (HEAD + "sites: none\n", 3, "sites: 'none' is not a list; write it as one"),
]


@pytest.mark.parametrize(("text", "line", "message"), BAD, ids=[message[:50] for _, _, message in BAD])
def test_bad_input_is_refused_with_its_line_and_the_next_step(text: str, line: int, message: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        load_spec(text)
    found = str(caught.value)
    assert message in found
    assert f"line {line}" in found
    assert ";" in found
    assert "\n" not in found


def test_aliases_cannot_expand_without_end() -> None:
    bomb = (
        HEAD
        + "a: &a [x]\n"
        + "".join(f"{b}: &{b} [{f'*{a},' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    )
    with pytest.raises(SpecificationError, match="line 4: an alias"):
        load_spec(bomb)


def test_a_file_is_named_in_the_message(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(HEAD + "vpn: pptp\n")
    with pytest.raises(SpecificationError, match=r"overlay\.yaml, line 3, vpn: "):
        load_spec(file)


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    with file.open("wb") as handle:
        handle.truncate(50 << 20)
    with pytest.raises(SpecificationError, match="larger than 1 MB"):
        load_spec(file)
    with pytest.raises(SpecificationError, match="larger than 1 MB"):
        load_spec("a" * (2 << 20))


@pytest.mark.parametrize(
    ("make", "message"), [("missing", "No such file"), ("directory", "not a file"), ("latin", "UTF-8")]
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, make: str, message: str) -> None:
    file = tmp_path / "overlay.yaml"
    if make == "directory":
        file.mkdir()
    if make == "latin":
        file.write_bytes("münchen".encode("latin-1"))
    with pytest.raises(SpecificationError, match=message):
        load_spec(file)


def test_one_site_from_a_person_s_values_is_checked_alike() -> None:
    assert site_spec(name="paris", provider="lab", hosts=1).hosts == 1
    with pytest.raises(SpecificationError, match=r"site, name: '\$\(id\)' is not a name"):
        site_spec(name="$(id)", provider="lab")
    with pytest.raises(SpecificationError, match=r"site, options\.speed: unknown option"):
        site_spec(name="paris", provider="lab", options={"speed": 1})


def test_the_published_schema_is_the_code_s() -> None:
    published = Path(__file__).parents[2] / "docs" / "specification.schema.json"
    assert published.read_text() == schema(), "write what proactive_tasks.overlay.spec.schema() returns into it"
