"""A stream of echo requests between two lab hosts, to see what a change does to what flows."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Self

from proactive_tasks.overlay.errors import LinkError

ANSWER = re.compile(rb"^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) ", re.MULTILINE)
FIRST_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What came back: time (s since the epoch) and sequence number of each answer, in order."""

    answers: tuple[tuple[float, int], ...]
    interval_s: float

    @property
    def lost(self) -> int:
        """How many requests between the first and the last answer stayed unanswered."""
        return self.answers[-1][1] - self.answers[0][1] + 1 - len({number for _, number in self.answers})

    @property
    def longest_gap_ms(self) -> float:
        """The longest time without an answer, beyond the interval itself."""
        pairs = zip(self.answers, self.answers[1:], strict=False)
        return 1000 * max((later[0] - earlier[0] - self.interval_s for earlier, later in pairs), default=0.0)


class EchoStream:
    """`ping` in a host's namespace, from its first answer until `stop`."""

    def __init__(self, process: subprocess.Popen[bytes], interval_s: float, begun: bytes) -> None:
        self._process, self._interval_s, self._begun = process, interval_s, begun

    @classmethod
    def start(cls, namespace: str, target: str, interval_s: float) -> Self:
        """Start pinging `target`, and return with the first answer.

        Raises:
            LinkError: none came in time.
        """
        argv = ["ip", "netns", "exec", namespace, "ping", "-n", "-D", "-i", str(interval_s), target]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        output, seen = process.stdout, b""
        deadline = time.monotonic() + FIRST_ANSWER_S
        with selectors.DefaultSelector() as selector:
            if output is not None:
                selector.register(output, selectors.EVENT_READ)
            while output is not None and (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    break
                chunk = os.read(output.fileno(), 65536)
                if not chunk:
                    break
                seen += chunk
                if ANSWER.search(seen):
                    return cls(process, interval_s, seen)
        process.kill()
        process.wait()
        raise LinkError(f"{namespace}: no answer from {target} within {FIRST_ANSWER_S:.0f} s")

    def stop(self) -> Stream:
        """End the stream, and tell what came back."""
        self._process.send_signal(signal.SIGINT)
        rest, _ = self._process.communicate(timeout=10)
        found = ANSWER.findall(self._begun + rest)
        return Stream(tuple((float(at), int(number)) for at, number in found), self._interval_s)
