"""Machines and an Internet emulated on this one, for trying the product and testing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proactive_tasks.lab.lab import Lab, labs

__all__ = ["Lab", "labs"]


def __getattr__(name: str) -> Any:
    """Import the lab when it is asked for: who only wants a part of it need not wait for all."""
    if name in __all__:
        from proactive_tasks.lab import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
