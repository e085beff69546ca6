"""Values as Java's own streams: compared with what a Java machine wrote, and read by one."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine.endpoint.jobs.serialised import exception, serialised
from proactive_tasks.engine.task.java import JavaList, JavaMap, JavaSet

INTEGER = "rO0ABXNyABFqYXZhLmxhbmcuSW50ZWdlchLioKT3gYc4AgABSQAFdmFsdWV4cgAQamF2YS5sYW5nLk51bWJlcoaslR0LlOCLAgAAeHA"
READER = """
import java.io.*; import java.nio.file.*; import java.util.*;
public class Reader { public static void main(String[] files) throws Exception { for (String file : files) {
  byte[] bytes = Files.readAllBytes(Paths.get(file));
  ByteArrayInputStream source = new ByteArrayInputStream(bytes);
  Object found = new ObjectInputStream(source).readObject();
  ByteArrayOutputStream copy = new ByteArrayOutputStream(); new ObjectOutputStream(copy).writeObject(found);
  String text = String.valueOf(found); text = text.substring(0, Math.min(60, text.length()));
  new PrintStream(System.out, true, "UTF-8").println((found == null ? "null" : found.getClass().getName()) + " " + text
    + " " + source.available() + " " + Arrays.equals(bytes, copy.toByteArray()));
}}}
"""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Plan", "rO0ABXQABFBsYW4="),
        (None, "rO0ABXA="),
        (2, INTEGER + "AAAAC"),
        (b"<b>hi</b>", "PGI+aGk8L2I+"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_java_writes_it(value: Any, written: str) -> None:
    assert base64.b64encode(serialised(value)).decode() == written


@pytest.mark.skipif(not shutil.which("java"), reason="needs a Java machine")
def test_a_java_machine_reads_what_is_written(tmp_path: Path) -> None:
    values = {
        "java.lang.Boolean true": True,
        "java.lang.Long 1099511627776": 2**40,
        "java.lang.Integer -2147483648": -(2**31),
        "java.lang.Double 1.5": 1.5,
        "java.lang.String h\u00e9\u00e9 \U0001d4b3": "h\u00e9\u00e9 \U0001d4b3",
        "java.util.HashMap {links=[1, 2]}": JavaMap({"links": [1, 2]}),
        "java.util.ArrayList [1, a, null, {b=2.5}]": JavaList([1, "a", None, {"b": 2.5}]),
        "java.util.HashSet [1, 2]": JavaSet([1, 2]),
        "java.lang.String " + "x" * 60: "x" * 70_000,
    }
    files = []
    for number, value in enumerate([*map(serialised, values.values()), exception("no way")]):
        files.append(tmp_path / f"{number:02}.bin")
        files[-1].write_bytes(value)
    (tmp_path / "Reader.java").write_text(READER)
    command = ["java", "-Xshare:auto", str(tmp_path / "Reader.java"), *map(str, files)]
    lines = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode().splitlines()
    # whatever Java read it would write in the same bytes; a set's spare room and a throwable's stack are its own affair
    same = ["true" if "HashSet" not in line else "false" for line in values]
    assert lines[:-1] == [f"{line} 0 {equal}" for line, equal in zip(values, same, strict=True)]
    assert lines[-1].startswith("java.lang.Exception java.lang.Exception: no way 0 ")
