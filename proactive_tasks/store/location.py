"""Where state lives on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from proactive_tasks.overlay.errors import StoreUnavailableError


def state_directory() -> Path:
    """The directory of this user's state, made if it is not there: readable by nobody else.

    Raises:
        StoreUnavailableError: this user may not write there, or has no home.
    """
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        directory = Path(base).expanduser() / "overlay"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home is known
        reason = error.strerror if isinstance(error, OSError) else error
        raise StoreUnavailableError(
            f"state directory {base}/overlay: {reason}; name a directory where you may write in XDG_STATE_HOME"
        ) from error
    return directory


def default_store_url() -> str:
    """The store's URL: the environment's OVERLAY_STORE, or a SQLite file in the state directory."""
    url = os.environ.get("OVERLAY_STORE") or f"sqlite:///{state_directory() / 'store.db'}"
    place = url.removeprefix("sqlite:///")
    if place == url or not place or place.startswith(("/", ":", "file:")):
        return url
    return f"sqlite:///{Path(place).absolute()}"  # tasks run in directories of their own


def space(name: str) -> Path:
    """The directory of a data space (`user` or `global`) of workflows that run on this machine."""
    directory = state_directory() / "spaces" / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
