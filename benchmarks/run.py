"""Runs benchmarks and writes their figures: one row per figure, with its spread and the aim it is held against."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from figures import BENCHMARKS


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `value` is the median of `n` samples, or their maximum where the aim is a worst case."""

    name: str
    value: float
    unit: str
    n: int
    min: float
    median: float
    max: float
    reach: str
    met: bool | None

    @classmethod
    def of(cls, name: str, unit: str, samples: Iterable[float], reach: float | None, worst: bool = False) -> Row:
        """The row of some samples; `reach` is the most that the figure may be."""
        found = sorted(samples)
        value = found[-1] if worst else statistics.median(found)
        return cls(
            name,
            round(value, 3),
            unit,
            len(found),
            round(found[0], 3),
            round(statistics.median(found), 3),
            round(found[-1], 3),
            "" if reach is None else f"<= {reach:g} {unit}",
            None if reach is None else value <= reach,
        )

    def as_json(self) -> dict[str, Any]:
        """The row as JSON-like values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def rows(names: list[str], runs: int | None) -> Iterator[Row]:
    """Run the named benchmarks, or all; rows as they come."""
    for name in names or BENCHMARKS:
        print(f"== {name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        for figure in BENCHMARKS[name](runs):
            row = Row.of(*figure)
            verdict = {True: "met", False: "NOT MET", None: ""}[row.met]
            print(
                f"   {row.name}: {row.value} {row.unit} (n={row.n}, {row.min} to {row.max}) {row.reach} {verdict}",
                file=sys.stderr,
                flush=True,
            )
            yield row
        print(f"   took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Parse the words, run, write."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--runs", type=int, help="samples per figure, where the benchmark lets you choose")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    found = [row.as_json() for row in rows(given.names, given.runs)]
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    else:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
