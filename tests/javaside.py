"""Java programs of ours around the scheduler's own jars: compiled when needed, spoken to line by line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

SOURCES = Path(__file__).parent / "java"
COMPILE_S = 180.0
ANSWER_S = 180.0


def tool(name: str) -> str:
    """Path of a Java tool. Without it these tests fail: nothing else can say what the scheduler's own code says."""
    found = shutil.which(name)
    assert found, f"{name} is missing: scripts/setup installs openjdk-17-jdk-headless"
    return found


def jars() -> list[Path]:
    """The scheduler's client jars out of the installed wheel `proactive`, and py4j's own."""
    package = importlib.util.find_spec("proactive")
    assert package is not None, "the Python package proactive is missing: scripts/setup installs it"
    assert package.origin is not None
    found = sorted((Path(package.origin).parent / "java" / "lib").glob("*.jar"))
    py4j = sorted((Path(sys.prefix) / "share" / "py4j").glob("py4j*.jar"))
    assert found, "the wheel of proactive holds no jars"
    assert py4j, "py4j's jar is missing: scripts/setup installs it"
    return found + py4j


def classes() -> Path:
    """The folder of the compiled programs; made anew when a source or a jar is another."""
    sources = sorted(SOURCES.glob("*.java"))
    known = [*(source.read_bytes() for source in sources), *(str(jar).encode() for jar in jars())]
    digest = hashlib.sha256(b"\0".join(known)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"overlay-java-{os.getuid()}-{digest}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
        command = [
            tool("javac"),
            "-nowarn",
            "-Xlint:-unchecked",
            "-proc:none",
            "-cp",
            os.pathsep.join(map(str, jars())),
            "-d",
            str(fresh),
        ]
        done = subprocess.run(
            [*command, *map(str, sources)], capture_output=True, text=True, timeout=COMPILE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        with suppress(OSError):  # another test run was faster
            fresh.rename(folder)
    # the folder is ours: nobody else may put classes there
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else; remove it"
    return folder


class Java:
    """A Java program that answers one JSON object a line for each that it is sent."""

    def __init__(self, main: str, folder: Path) -> None:
        path = os.pathsep.join(map(str, [classes(), *jars()]))  # ours first: one class of theirs is replaced
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
        self._log = folder / f"{main}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [tool("java"), *options, f"-Djava.io.tmpdir={folder}", "-cp", path, main],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
            )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def ask(self, verb: str, deadline_s: float = ANSWER_S, **values: Any) -> dict[str, Any]:
        """The answer; a program that ends, or is silent beyond the deadline, fails the test with its log."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"verb": verb, **values}).encode() + b"\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=deadline_s)
        except queue.Empty:
            line = b""
        assert line, f"no answer to {verb} within {deadline_s} s:\n{self.log()}"
        answer: dict[str, Any] = json.loads(line)
        assert "fault" not in answer, f"{answer}\n{self.log()}"
        return answer

    def log(self) -> str:
        """The end of what the program printed."""
        return self._log.read_text("utf-8", "replace")[-4000:]

    def close(self) -> None:
        """End the program."""
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(60)
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Java]:
    """The one program that judges workflows, lists routes and holds bindings; started once."""
    with Java("Harness", tmp_path_factory.mktemp("java")) as java:
        yield java
