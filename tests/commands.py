"""Commands in this process: how they end, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    name: str
    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Exit code 2, nothing on standard output, and one line that holds the words."""
        assert (self.code, self.out) == (2, ""), self
        assert len(self.err.splitlines()) == 1, self.err
        assert self.err.startswith(f"{self.name}: ")
        assert len(self.err) < 600
        for word in words:
            assert word in self.err, self.err


def call(
    capsys: pytest.CaptureFixture[str], name: str, main: Callable[[list[str]], object], *arguments: object
) -> Said:
    """Run a command that ends with its exit code."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return Said(name, ended.value.code, said.out, said.err)
