"""Runs a demo's steps, destroys everything whatever happened, and tells the figures; see scripts/demo."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from demo_hybrid import Hybrid
from demo_lab import NAMES, OVERLAYCTL, Demo, say, title

from proactive_tasks.store.location import state_directory


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--sites", type=int, default=3, choices=range(1, len(NAMES)), metavar="N", help="default 3")
    parser.add_argument(
        "--hybrid", action="store_true", help="over emulated AWS, Azure and OpenStack, and an edge host"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="leave the overlay up, for overlayctl")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    given = parser.parse_args()

    folder = state_directory()
    folder.mkdir(parents=True, exist_ok=True)
    passphrase = folder / "demo-passphrase"
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_urlsafe(24) + "\n", encoding="ascii")
    os.environ["OVERLAY_PASSPHRASE_FILE"] = str(passphrase)

    demo = Hybrid(4, folder) if given.hybrid else Demo(given.sites, folder)
    demo.seconds["install"] = round(time.time() - given.started, 2)
    completed = False
    try:
        demo.prepare()
        demo.run()
        completed = True
    finally:
        if not given.keep:
            title("destroy everything")
            with nullcontext() if completed else suppress(SystemExit):
                demo.destroy()
            demo.clean_up()
    figures = demo.figures | {"seconds": demo.seconds}
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    title("figures")
    say(json.dumps(figures, indent=2))
    if given.keep:
        say(f"\nThe overlay stays up. To work with it:\n  export OVERLAY_PASSPHRASE_FILE={passphrase}")
        say(f"  {OVERLAYCTL} status\n  {OVERLAYCTL} destroy --overlay {demo.overlay}")
    if not demo.sound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
