"""Where state lives on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def state_directory() -> Path:
    """The directory of this user's state, made if it is not there: readable by nobody else."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = Path(base) / "overlay"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def default_store_url() -> str:
    """The store's URL: the environment's OVERLAY_STORE, or a SQLite file in the state directory."""
    return os.environ.get("OVERLAY_STORE") or f"sqlite:///{state_directory() / 'store.db'}"


def space(name: str) -> Path:
    """The directory of a data space (`user` or `global`) of workflows that run on this machine."""
    directory = state_directory() / "spaces" / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
