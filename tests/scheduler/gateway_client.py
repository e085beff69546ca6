"""The scheduler's Python client, ProActiveGateway, in a process of its own: it starts a Java machine and prints.

Reads {"url", "user", "password", "calls": [[method, argument...], ...]}, calls one after the other, and writes what
each answered or raised: JSON on the last line. An argument {"text": n} stands for the answer of call n, as a text.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from proactive import ProActiveGateway


def main() -> None:
    order = json.load(sys.stdin)
    gateway = ProActiveGateway(order["url"])
    answers: list[dict[str, Any]] = []
    for method, *given in order["calls"]:
        arguments = [
            str(answers[each["text"]]["answer"]) if isinstance(each, dict) and "text" in each else each
            for each in given
        ]
        try:
            found = getattr(gateway, method)(*arguments)
            answers.append({"answer": found if isinstance(found, (str, int, float, bool, type(None))) else str(found)})
        except Exception as error:  # noqa: BLE001 - the test judges it
            answers.append({"error": type(error).__name__, "message": str(error)[:2000]})
    print("\n" + json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
