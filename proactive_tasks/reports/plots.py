"""Plots of an overlay: each a self-contained SVG for a page that is light or dark. Loads matplotlib where it draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.model import LinkState
from proactive_tasks.reports.overview import Direction, Overview

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SITES = 30
"""With more sites a matrix of pairs cannot be read: distributions take its place."""

MOST_VALUES = 12
"""With more sites the cells of a matrix bear no figures; the table below has them."""

MOST_BARS = 24
"""So many links at most have bars: those with the largest overhead."""

INK = "#010203"
"""Stands for the page's own colour of text while a plot is drawn."""

INSIDE, OUTSIDE = "#2a7fb8", "#e08a1e"  # told apart by those who see no red or green, too
STATES = {
    LinkState.CONNECTED: ("#2e9e5b", "c"),
    LinkState.CONNECTING: ("#e0b01e", "..."),
    LinkState.PLANNED: ("#9aa4b1", "p"),
    LinkState.ERROR: ("#c0392b", "!"),
}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "overlay",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, and what it shows in words."""

    title: str
    words: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    title: str
    unit: str
    digits: int
    factor: float = 1.0

    def inside(self, direction: Direction) -> float | None:
        return self._scaled(getattr(direction, self.name))

    def outside(self, direction: Direction) -> float | None:
        return self._scaled(getattr(direction, f"{self.name}_outside"))

    def _scaled(self, value: float | None) -> float | None:
        return None if value is None else value * self.factor


METRICS = (
    _Metric("rtt", "Round-trip time inside the tunnels", "ms", 2),
    _Metric("loss", "Loss inside the tunnels", "%", 1, 100),
    _Metric("path_mtu", "Path MTU inside the tunnels", "bytes", 0),
)


def plots(view: Overview) -> list[Plot]:
    """All plots for which there are figures."""
    return list(_plots(view)) if view.links else []


def _plots(view: Overview) -> Iterator[Plot]:
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS):
        many = len(view.sites) > MOST_SITES
        for metric in METRICS:
            values = {
                (each.source, each.target): value
                for each in view.directions
                if (value := metric.inside(each)) is not None
            }
            if values:
                yield _distribution(view, metric) if many else _matrix(view, metric, values)
        if bars := _overheads(view):
            yield _bars(bars)
        yield _state_counts(view) if many else _states(view)


def _matrix(view: Overview, metric: _Metric, values: Mapping[tuple[str, str], float]) -> Plot:
    """Site by site: who sends stands at the left, who answers below."""
    import matplotlib as mpl

    low, high = min(values.values()), max(values.values())
    scale = mpl.colormaps["viridis"]

    def paint(pair: tuple[str, str]) -> tuple[str, str, str] | None:
        if (value := values.get(pair)) is None:
            return None
        share = (value - low) / (high - low) if high > low else 0.5
        red, green, blue, _ = scale(share)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        return mpl.colors.to_hex((red, green, blue)), "#ffffff" if dark else "#000000", f"{value:.{metric.digits}f}"

    ends = [(low, 0.0), ((low + high) / 2, 0.5), (high, 1.0)] if high > low else [(low, 0.5)]
    legend = [
        (mpl.colors.to_hex(scale(share)), f"{value:.{metric.digits}f} {metric.unit}") for value, share in reversed(ends)
    ]
    worst = max(values, key=lambda pair: values[pair] if metric.name != "path_mtu" else -values[pair])
    words = f"{low:.{metric.digits}f} {metric.unit} everywhere"
    if high > low:
        words = (
            f"{low:.{metric.digits}f} to {high:.{metric.digits}f} {metric.unit}; worst from {worst[0]} to {worst[1]}"
        )
    svg = _cells(view, paint, metric.name, f"{metric.title}: {words}", legend)
    return Plot(f"{metric.title}, {metric.unit}", words, svg)


def _states(view: Overview) -> Plot:
    known = {frozenset((link.a, link.b)): link.state for link in view.links}

    def paint(pair: tuple[str, str]) -> tuple[str, str, str] | None:
        state = known.get(frozenset(pair))
        return None if state is None else (STATES[state][0], "#ffffff", STATES[state][1])

    there = [state for state in STATES if state in known.values()]
    words = "; ".join(f"{sum(each is state for each in known.values())} {state}" for state in there)
    legend = [(STATES[state][0], f"{STATES[state][1]}  {state}") for state in there]
    return Plot("State of the links", words, _cells(view, paint, "state", f"State of the links: {words}", legend))


def _cells(
    view: Overview,
    paint: Callable[[tuple[str, str]], tuple[str, str, str] | None],
    name: str,
    words: str,
    legend: Sequence[tuple[str, str]],
) -> str:
    """A matrix of sites by sites. `paint` tells a cell's colour, and colour and words of what stands in it.

    It has no axes, whose ticks would take most of the time: figures are placed in inches from the top left.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    names = [site.name for site in view.sites]
    side = 0.42 if len(names) <= MOST_VALUES else 0.22
    margin = 0.2 + 0.075 * max(map(len, names))
    height = max(len(names) * side, 0.22 * len(legend))
    width = margin + len(names) * side + 1.3
    figure: Figure = Figure(figsize=(width, 0.1 + height + margin))
    inches = Affine2D().scale(1 / width, -1 / (0.1 + height + margin)).translate(0, 1) + figure.transFigure
    squares, colours = [], []

    def write(x: float, y: float, text: str, **more: Any) -> None:
        figure.text(x, y, text, transform=inches, **{"va": "center", **more})

    def square(x: float, y: float, size: float, colour: str) -> None:
        squares.append([(x, y), (x + size, y), (x + size, y + size), (x, y + size)])
        colours.append(colour)

    for row, source in enumerate(names):
        top = 0.1 + row * side
        write(margin - 0.06, top + side / 2, source, ha="right")
        write(margin + (row + 0.5) * side, 0.16 + len(names) * side, source, rotation=90, ha="center", va="top")
        for column, target in enumerate(names):
            if source == target or (cell := paint((source, target))) is None:
                continue
            left = margin + column * side
            square(left + 0.01, top + 0.01, side - 0.02, cell[0])
            if len(names) <= MOST_VALUES:
                write(left + side / 2, top + side / 2, cell[2], color=cell[1], ha="center", fontsize=8)
    for row, (colour, text) in enumerate(legend):
        square(width - 1.2, 0.15 + 0.22 * row, 0.12, colour)
        write(width - 1.0, 0.21 + 0.22 * row, text)
    figure.add_artist(PolyCollection(squares, facecolors=colours, edgecolors="none", transform=inches, zorder=0))
    return _canvas(figure, name, words)


def _overheads(view: Overview) -> list[tuple[str, float, float]]:
    """Of each link the round-trip time inside and outside, the mean of its directions, the largest overhead first."""
    trips: dict[frozenset[str], list[tuple[float, float]]] = {}
    for each in view.directions:
        if each.rtt is not None and each.rtt_outside is not None:
            trips.setdefault(frozenset((each.source, each.target)), []).append((each.rtt, each.rtt_outside))
    found = []
    for link in view.links:
        if both := trips.get(frozenset((link.a, link.b))):
            inside, outside = (sum(values) / len(both) for values in zip(*both, strict=True))
            found.append((link.name, inside, outside))
    return sorted(found, key=lambda bar: bar[2] - bar[1])


def _bars(links: Sequence[tuple[str, float, float]]) -> Plot:
    shown = links[:MOST_BARS]
    name, inside, outside = links[0]
    words = f"largest overhead: {name}, {inside:.2f} ms inside and {outside:.2f} ms outside"
    if len(shown) < len(links):
        words += f"; the {len(shown)} of {len(links)} links with the largest overhead"

    def draw(axes: Axes) -> None:
        rows = range(len(shown))
        axes.barh([row - 0.2 for row in rows], [bar[1] for bar in shown], 0.38, color=INSIDE, label="inside the tunnel")
        axes.barh([row + 0.2 for row in rows], [bar[2] for bar in shown], 0.38, color=OUTSIDE, label="outside it")
        axes.set_yticks(list(rows), [bar[0] for bar in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("ms")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

    left = 0.3 + 0.075 * max(len(bar[0]) for bar in shown)
    size = (3.6, max(0.8, 0.36 * len(shown)))
    title = "Round-trip time inside and outside the tunnels, ms"
    return Plot(title, words, _svg(draw, "overhead", f"{title}: {words}", size, (left, 0.1, 1.6, 0.5)))


def _distribution(view: Overview, metric: _Metric) -> Plot:
    """How many of the directions have at most that value, inside and outside."""
    sides = {
        "inside the tunnels": (sorted(v for each in view.directions if (v := metric.inside(each)) is not None), INSIDE),
        "outside them": (sorted(v for each in view.directions if (v := metric.outside(each)) is not None), OUTSIDE),
    }
    inside = sides["inside the tunnels"][0]
    form = f".{metric.digits}f"
    middle = inside[len(inside) // 2]
    words = f"{len(inside)} directions; {inside[0]:{form}} to {inside[-1]:{form}} {metric.unit}, median {middle:{form}}"

    def draw(axes: Axes) -> None:
        for label, (values, colour) in sides.items():
            step = max(1, len(values) // 400)  # a line of 400 points is as fine as the eye
            ranks = [*range(0, len(values), step), len(values) - 1] if values else []
            xs = [values[rank] for rank in ranks]
            axes.step(xs, [(rank + 1) / len(values) for rank in ranks], where="post", color=colour, label=label)
        axes.set_xlabel(metric.unit)
        axes.set_ylabel("share of directions")
        axes.set_ylim(0, 1.02)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

    title = f"{metric.title.removesuffix(' inside the tunnels')}, distribution, {metric.unit}"
    return Plot(title, words, _svg(draw, metric.name, f"{title}: {words}", (3.6, 2.2), (0.6, 0.1, 1.6, 0.5)))


def _state_counts(view: Overview) -> Plot:
    counts = {state: sum(link.state is state for link in view.links) for state in STATES}
    words = "; ".join(f"{count} {state}" for state, count in counts.items() if count)

    def draw(axes: Axes) -> None:
        rows = list(range(len(counts)))
        axes.barh(rows, list(counts.values()), 0.7, color=[STATES[state][0] for state in counts])
        axes.set_yticks(rows, [f"{state}: {count}" for state, count in counts.items()])
        axes.set_ylim(len(counts) - 0.5, -0.5)
        axes.set_xlabel("links")

    svg = _svg(draw, "state", f"State of the links: {words}", (3.6, 1.2), (1.3, 0.1, 0.2, 0.5))
    return Plot("State of the links", words, svg)


def _svg(
    draw: Callable[[Axes], None],
    name: str,
    words: str,
    size: tuple[float, float],
    margins: tuple[float, float, float, float],
) -> str:
    """One plot.

    Args:
        draw: draws it.
        name: what tells its identifiers from those of the page's other plots.
        words: what it shows, for those who do not see it.
        size: width and height of its axes, in inches.
        margins: left, top, right and bottom of them, in inches.
    """
    from matplotlib.figure import Figure

    left, top, right, bottom = margins
    width, height = left + size[0] + right, bottom + size[1] + top
    figure: Figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
    axes.patch.set_visible(False)
    draw(axes)
    return _canvas(figure, name, words)


def _canvas(figure: Figure, name: str, words: str) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.patch.set_visible(False)
    out = StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(out.getvalue(), name, words)


def _inline(document: str, name: str, words: str) -> str:
    """A document as part of a page: its own identifiers, the page's colour and font, and words for it."""
    text = document[document.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor")
    label = f'role="img" aria-label="{escape(words)}"'
    return re.sub(r"<svg ([^>]*)>", rf"<svg \g<1> {label}><title>{escape(words)}</title>", text, count=1)
