"""A stream of echo requests between two lab hosts, to see what a change does to what flows."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Self

from proactive_tasks.overlay.errors import LinkError

ANSWER = re.compile(rb"^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) ", re.MULTILINE)
SUMMARY = re.compile(rb"^(\d+) packets transmitted", re.MULTILINE)
FIRST_ANSWER_S = 10.0
UNDER_WAY_S = 1.0
"""An answer that takes longer than this at the end of a stream counts as lost."""

POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Stream:
    """What came back: time (s since the epoch) and sequence number of each answer, in order, and how many were sent."""

    answers: tuple[tuple[float, int], ...]
    interval_s: float
    sent: int = 0

    @property
    def lost(self) -> int:
        """How many requests since the first answer stayed unanswered; the very last may still be under way."""
        if not self.answers:
            return self.sent
        first, last = self.answers[0][1], self.answers[-1][1]
        silent = max(0, self.sent - last)
        lost = last - first + 1 - len({number for _, number in self.answers})
        return lost + (silent if silent * self.interval_s > UNDER_WAY_S else 0)

    @property
    def longest_gap_ms(self) -> float:
        """The longest time without an answer, beyond the interval itself; endless when none came any more."""
        if not self.answers or (self.sent - self.answers[-1][1]) * self.interval_s > UNDER_WAY_S:
            return math.inf
        pairs = zip(self.answers, self.answers[1:], strict=False)
        return 1000 * max((later[0] - earlier[0] - self.interval_s for earlier, later in pairs), default=0.0)


class EchoStream:
    """`ping` in a host's namespace, from its first answer until `stop`."""

    def __init__(self, process: subprocess.Popen[bytes], interval_s: float, told: IO[bytes]) -> None:
        self._process, self._interval_s, self._told = process, interval_s, told

    @classmethod
    def start(cls, namespace: str, target: str, interval_s: float) -> Self:
        """Start pinging `target`, and return with the first answer.

        Raises:
            LinkError: none came in time.
        """
        argv = ["ip", "netns", "exec", namespace, "ping", "-n", "-D", "-i", str(interval_s), target]
        told = TemporaryFile()  # a pipe that nobody reads would fill up, and hold the stream back  # noqa: SIM115
        process = subprocess.Popen(argv, stdout=told, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        stream = cls(process, interval_s, told)
        deadline = time.monotonic() + FIRST_ANSWER_S
        while process.poll() is None and time.monotonic() < deadline:
            if stream.so_far().answers:
                return stream
            time.sleep(POLL_S)
        stream.stop()
        raise LinkError(f"{namespace}: no answer from {target} within {FIRST_ANSWER_S:.0f} s")

    def so_far(self) -> Stream:
        """What has come back until now."""
        told = os.pread(self._told.fileno(), os.fstat(self._told.fileno()).st_size, 0)
        answers = tuple((float(at), int(number)) for at, number in ANSWER.findall(told))
        summary = SUMMARY.search(told)
        return Stream(answers, self._interval_s, int(summary[1]) if summary else 0)

    def stop(self) -> Stream:
        """End the stream, and tell what came back."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=10)
            return self.so_far()
        finally:
            self._process.kill()
            self._process.wait()
            self._told.close()
