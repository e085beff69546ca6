"""Topologies: which gateways get a link to which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from proactive_tasks.overlay.errors import SpecificationError

TOPOLOGIES = ("mesh", "star", "tree", "on-demand")
BRANCHES = 2
"""Children of a site in a tree whose specification names no parents."""

Pair = tuple[str, str]
"""Names of two sites, the lower first."""


@dataclass(frozen=True, slots=True)
class Node:
    """A site as a topology sees it. `order` is its place in the sequence of arrivals and never changes."""

    name: str
    order: int
    parent: str | None = None


def pair(a: str, b: str) -> Pair:
    """Two sites as a link names them."""
    return (a, b) if a < b else (b, a)


def links(topology: str, nodes: Iterable[Node], hub: str | None = None) -> list[Pair]:
    """The pairs of sites that `topology` connects, sorted.

    A star's hub is the first site unless named. A tree's parents are those that the sites name, else by order of
    arrival; where a parent is gone, its own parent takes its place, at last the first site. On demand, no link is
    planned up front.

    Raises:
        SpecificationError: the named parents form a circle, or the hub is not among the sites.
    """
    ordered = sorted(nodes, key=lambda node: node.order)
    names = [node.name for node in ordered]
    if topology == "mesh":
        return list(combinations(sorted(names), 2))
    if topology == "star":
        return _star(names, hub)
    if topology == "tree":
        return sorted(pair(child, parent) for child, parent in parents(ordered).items())
    return []


def count(topology: str, nodes: Sequence[Node]) -> int:
    """How many links `links` would give.

    Raises:
        SpecificationError: the named parents form a circle.
    """
    if topology == "mesh":
        return len(nodes) * (len(nodes) - 1) // 2
    if topology == "tree":
        return len(parents(nodes))
    return max(len(nodes) - 1, 0) if topology == "star" else 0


def _star(names: Sequence[str], hub: str | None) -> list[Pair]:
    if not names:
        return []
    centre = hub or names[0]
    if centre not in names:
        raise SpecificationError(f"hub {centre} is not a site of the overlay; name one of: {', '.join(names[:10])}")
    return sorted(pair(centre, name) for name in names if name != centre)


def parents(nodes: Sequence[Node]) -> dict[str, str]:
    """The parent of every site of a tree but its root.

    Raises:
        SpecificationError: the named parents form a circle.
    """
    by_order = {node.order: node for node in nodes}
    by_name = {node.name: node for node in nodes}
    root = _root(nodes)
    found: dict[str, str] = {}
    for node in nodes:
        if node.name == root and node.parent not in by_name:
            continue
        if node.parent in by_name:
            found[node.name] = str(node.parent)
        else:
            found[node.name] = _ancestor(node.order, by_order, root)
    _refuse_circle(found)
    return found


def _root(nodes: Sequence[Node]) -> str:
    """The first site without a living parent of its own choice."""
    names = {node.name for node in nodes}
    return next((node.name for node in nodes if node.parent not in names), nodes[0].name if nodes else "")


def _ancestor(order: int, by_order: Mapping[int, Node], root: str) -> str:
    while order > 0:
        order = (order - 1) // BRANCHES
        if order in by_order:
            return by_order[order].name
    return root


def _refuse_circle(found: Mapping[str, str]) -> None:
    settled: set[str] = set()
    for start in found:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in settled:
            if name in path:
                raise SpecificationError(f"site {name}: its parents lead back to itself; name another parent")
            path[name] = None
            name = found.get(name)
        settled.update(path)
