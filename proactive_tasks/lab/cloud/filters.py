"""What a domain lets pass: security groups, source and destination checks, its edge to the Internet, as nftables rules.

A packet between two servers is judged once, in the domain's router: on its way in by what its sender may send, on its
way out by what its receiver may get.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, collapse_addresses

from proactive_tasks.lab.cloud.model import ANYWHERE, Domain, Nic, Rule

UPLINK = "uplink"
"""The domain's interface to the Internet."""

_WITH_PORTS = (6, 17)


def ruleset(domain: Domain, ports: Mapping[str, Nic]) -> str:
    """The rules of a domain's router, to be loaded whole.

    Args:
        domain: the domain.
        ports: the network interfaces of its servers, by the router's interface to each.
    """
    chains = [_nat(domain, ports), *_forward(domain, ports)]
    return "table ip cloud\ndelete table ip cloud\ntable ip cloud {\n" + "".join(chains) + "}\n"


def has_uplink(domain: Domain) -> bool:
    """Is the domain connected to the Internet at all?"""
    return domain.internet or domain.masquerade is not None


def conditions(rule: Rule, remote: str) -> str:
    """What a packet must be for a rule to fit; `remote` says where the other end's address stands in it."""
    words = [] if rule.remote == ANYWHERE else [f"ip {remote} {rule.remote}"]
    if rule.protocol is not None:
        words.append(f"meta l4proto {rule.protocol}")
    if rule.protocol in _WITH_PORTS and rule.ports not in {None, (0, 65535)}:
        low, high = rule.ports or (0, 0)
        words.append(f"th dport {low}" if low == high else f"th dport {low}-{high}")
    return " ".join(words)


def _forward(domain: Domain, ports: Mapping[str, Nic]) -> Iterable[str]:
    """The chains that decide about what is forwarded."""
    sources = {port: _checked("saddr", nic, nic.sends) for port, nic in ports.items()}
    targets = {port: _checked("daddr", nic, nic.receives) for port, nic in ports.items()}
    outbound = {port: _lists("daddr", nic.outbound) for port, nic in ports.items()}
    inbound = {port: _lists("saddr", nic.inbound) for port, nic in ports.items()}
    body = []
    for direction, chains, kind in (("iifname", sources, "src"), ("oifname", targets, "dst")):
        yield from _chains(kind, chains)
        body += _jumps(direction, kind, chains)
    body.append("ct state established,related accept")
    for direction, lists, kind in (("iifname", outbound, "out"), ("oifname", inbound, "in")):
        for number in range(max(map(len, lists.values()), default=0)):
            chains = {port: each[number] for port, each in lists.items() if number < len(each)}
            yield from _chains(f"{kind}{number}", chains)
            body += _jumps(direction, f"{kind}{number}", chains)
    if ports:
        known = _set(f'"{port}"' for port in ports)
        body.append(f"iifname {known} oifname {known} accept")
        body += [f'iifname "{UPLINK}" oifname {known} ct status dnat accept'] if has_uplink(domain) else []
        body += [f'iifname {known} oifname "{UPLINK}" accept'] if domain.masquerade is not None else []
        if has_uplink(domain) and domain.masquerade is None and _public(ports):
            own = _set(f"{private}" for private in _public(ports))
            body.append(f'iifname {known} oifname "{UPLINK}" ip saddr {own} accept')
    yield _chain("forward", ["type filter hook forward priority filter; policy drop;", *body])
    yield _chain("input", ["type filter hook input priority filter;", f'iifname "{UPLINK}" meta l4proto != 1 drop'])


def _nat(domain: Domain, ports: Mapping[str, Nic]) -> str:
    """One to one for public addresses, both ways; by the domain's own for the others, where it has one."""
    if not has_uplink(domain):
        return ""
    into, out = [], []
    if pairs := _public(ports):
        into.append(f'iifname "{UPLINK}" dnat to ip daddr map {_set(f"{b} : {a}" for a, b in pairs.items())}')
        out.append(f'oifname "{UPLINK}" snat to ip saddr map {_set(f"{a} : {b}" for a, b in pairs.items())}')
    if domain.masquerade is not None:
        out.append(f'oifname "{UPLINK}" snat to {domain.masquerade}')
    return _chain("prerouting", ["type nat hook prerouting priority dstnat;", *into]) + _chain(
        "postrouting", ["type nat hook postrouting priority srcnat;", *out]
    )


def _public(ports: Mapping[str, Nic]) -> dict[str, str]:
    """Private to public address."""
    return {str(nic.address): str(nic.public) for nic in ports.values() if nic.public is not None}


def _checked(field: str, nic: Nic, others: Sequence[IPv4Network]) -> list[str] | None:
    """Its own address and the others only; None where that is every address."""
    networks = list(collapse_addresses([IPv4Network(nic.address), *others]))
    return None if networks == [ANYWHERE] else [f"ip {field} {_set(map(str, networks))} return", "drop"]


def _lists(remote: str, lists: Sequence[Sequence[Rule]]) -> list[list[str]]:
    """Each list that refuses anything, as a chain that a packet survives if the list accepts it."""
    return [
        [*(f"{conditions(rule, remote)} {'return' if rule.accept else 'drop'}".strip() for rule in rules), "drop"]
        for rules in lists
        if not (rules and rules[0] == Rule(accept=True))
    ]


def _chains(kind: str, bodies: Mapping[str, list[str] | None]) -> Iterable[str]:
    return [_chain(f"{kind}_{port}", body) for port, body in bodies.items() if body is not None]


def _jumps(direction: str, kind: str, bodies: Mapping[str, object]) -> list[str]:
    """To each port's own chain in one step, however many there are."""
    jumps = [f'"{port}" : jump {kind}_{port}' for port, body in bodies.items() if body is not None]
    return [f"{direction} vmap {_set(jumps)}"] if jumps else []


def _chain(name: str, lines: Iterable[str]) -> str:
    return f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"


def _set(members: Iterable[str]) -> str:
    return "{ " + ", ".join(members) + " }"
