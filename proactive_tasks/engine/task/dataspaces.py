"""Copies files between the data spaces and a task's folder: what `<inputFiles>` and `<outputFiles>` ask for.

A pattern is one of java.nio's globs (or `regex:` and an expression), matched against a path from the space's top: `*`
stays within a folder, `**` does not, and a comma means nothing outside of braces.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proactive_tasks.engine.regexp import translate

PART = ".overlay-part-"
"""What the names of files begin with that are being copied: nobody takes half of one."""

INTO = {"transfer": "localspace", "cache": "cachespace"}
RANKS = ("globalspace", "userspace", "inputspace", "outputspace")
"""A file of the same name in several spaces is taken from the last of these."""


class Transfer:
    """The transfers of one task execution.

    `spaces` are the folders by the names of their bindings, `tell` takes lines for the task's log, `between` is called
    between files and may end it all.
    """

    def __init__(
        self, spaces: dict[str, str], tell: Callable[[str], None], between: Callable[[], None] = lambda: None
    ) -> None:
        self._spaces = {name: Path(place) for name, place in spaces.items()}
        self._tell = tell
        self._between = between

    def bring(self, selections: list[dict[str, Any]]) -> None:
        """Copy into the task's folder, or into the node's cache, before the task.

        Raises:
            OSError, ValueError: a file cannot be copied, a pattern is none.
        """
        for way, target in INTO.items():
            found: dict[str, dict[str, Path]] = {space: {} for space in RANKS}
            for selection in selections:
                if selection["mode"].lower().startswith(f"{way}from"):
                    space = selection["mode"][len(way) + 4 :].lower()
                    there = dict(self._select(self._spaces[space], selection))
                    if not there:
                        self._missing("from", space, selection)
                    found[space].update(there)
            chosen: dict[str, Path] = {}
            for space in RANKS:
                for name, path in found[space].items():
                    if name in chosen and path.is_file():
                        self._warn(
                            f"{path.as_uri()} will be copied instead of {chosen[name].as_uri()}. "
                            "Precedence order is output space, input space, user space, global space."
                        )
                    chosen[name] = path
            self._copy(chosen, self._spaces[target], fresh=way == "cache")

    def take(self, selections: list[dict[str, Any]]) -> None:
        """Copy out of the task's folder, after the task.

        Raises:
            OSError, ValueError: as above.
        """
        for selection in selections:
            if selection["mode"].lower().startswith("transferto"):
                space = selection["mode"][len("transferto") :].lower()
                found = dict(self._select(self._spaces["localspace"], selection))
                if not found:
                    self._missing("to", space, selection)
                self._copy(found, self._spaces[space])

    def _select(self, top: Path, selection: dict[str, Any]) -> Iterator[tuple[str, Path]]:
        include, leave = glob(selection["includes"]), [glob(each) for each in selection["excludes"]]
        enters = descent(selection["includes"])
        for folder, folders, files in os.walk(top):
            self._between()
            inside = {name: (Path(folder) / name).relative_to(top).as_posix() for name in sorted((*folders, *files))}
            folders[:] = [name for name in folders if enters(inside[name])]
            for name, relative in inside.items():
                path = top / relative
                usable = path.is_dir() or path.is_file()  # no sockets, no pipes
                if usable and not name.startswith(PART) and include(relative) and not any(no(relative) for no in leave):
                    yield relative, path

    def _copy(self, found: dict[str, Path], top: Path, *, fresh: bool = False) -> None:
        """Copy contents; with `fresh`, only those that differ from what is there."""
        for name, source in found.items():
            self._between()
            target = top / name
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if fresh and _same(source, target):
                continue
            part = target.with_name(f"{PART}{os.getpid()}-{len(name)}")
            try:
                shutil.copyfile(source, part)
                if fresh:
                    shutil.copystat(source, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def _missing(self, way: str, space: str, selection: dict[str, Any]) -> None:
        name = f"{space.removesuffix('space').upper()} space"
        includes, excludes = (f"[{', '.join(words)}]" for words in ([selection["includes"]], selection["excludes"]))
        selector = f"({selection['mode']}-FileSelector{{includes={includes}, excludes={excludes}}})"
        self._warn(f"No file is transferred {way} {name} at file://{self._spaces[space]} for selector {selector}")

    def _warn(self, text: str) -> None:
        self._tell(f"[DATASPACES-WARNING] {text}")


def _same(source: Path, target: Path) -> bool:
    try:
        there = target.stat()
    except OSError:
        return False
    ours = source.stat()
    return (there.st_size, there.st_mtime_ns) == (ours.st_size, ours.st_mtime_ns)


def glob(pattern: str) -> Callable[[str], bool]:
    """Whether a path is the pattern itself or matches it.

    Raises:
        ValueError: it is no pattern.
    """
    written = pattern.removeprefix("regex:")
    text = translate(written) if written != pattern else _expression(pattern.removeprefix("glob:"))
    try:
        expression = re.compile(text, re.DOTALL)
    except re.error as error:
        raise ValueError(f"pattern {pattern}: {error}") from error
    return lambda path: path == pattern or expression.fullmatch(path) is not None


_WORD = re.compile(r"\\(?P<plain>.)|\[(?P<no>!?)(?P<members>[^\]/]+)\]|\*\*|(?P<broken>[\[\\])|.", re.DOTALL)
_ALWAYS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
_IN_BRACES = {"}": ")", ",": "|"}


def _expression(pattern: str) -> str:
    """A glob as a regular expression, by the rules of java.nio.file.FileSystem.getPathMatcher."""
    made, inside = [], False
    for match in _WORD.finditer(pattern):
        word = match[0]
        if match["broken"] or (inside and word == "{"):
            raise ValueError(f"java.util.regex.PatternSyntaxException: near index {match.start()}: {pattern}")
        if match["plain"]:
            made.append(re.escape(match["plain"]))
        elif match["members"]:
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", match["members"])
            made.append(f"(?!/)[{'^' if match['no'] else ''}{members}]")
        elif inside and word in _IN_BRACES:
            made.append(_IN_BRACES[word])
            inside = word == ","
        elif word == "{":
            made.append("(?:")
            inside = True
        else:
            made.append(_ALWAYS.get(word) or re.escape(word))
    if inside:
        raise ValueError(f"java.util.regex.PatternSyntaxException: Missing '}}': {pattern}")
    return "".join(made)


def descent(pattern: str) -> Callable[[str], bool]:
    """Whether a folder is looked into. Decided by Ant's rules: only a whole `**` between slashes goes deeper.

    So `**.txt` finds files at the top alone, although the glob would fit those further down.
    """
    pattern = pattern.removeprefix("glob:")
    if pattern.startswith("regex:") or re.search(r"[\[{\\]", pattern):
        return lambda _folder: True
    parts = [part for part in pattern.split("/") if part]

    def enters(folder: str) -> bool:
        for number, name in enumerate(folder.split("/")):
            if number >= len(parts) or pattern.startswith("/"):
                return False
            if parts[number] == "**":
                return True
            if not re.fullmatch(_expression(parts[number].replace("**", "*")), name, re.IGNORECASE):
                return False
        return True

    return enters
