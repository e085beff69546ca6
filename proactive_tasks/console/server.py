"""The process that the tasks of a command come from, made before the command's own imports: both load at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

from proactive_tasks.engine.process import ForkServer
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.store.location import default_store_url

PRELOAD = (
    "proactive_tasks.scheduler.binding",
    "proactive_tasks.allocate_subnet",
    "proactive_tasks.provision_gateway",
    "proactive_tasks.issue_certs",
    "proactive_tasks.configure_tunnel",
    "proactive_tasks.verify_overlay",
    "proactive_tasks.measure_link",
    "proactive_tasks.report_overlay",
    "proactive_tasks.clouds.lab",
    "proactive_tasks.gateway.session",
    "sqlalchemy.dialects.sqlite",
)
"""What the engine's task processes find imported already."""

LATER = (
    "numpy",
    "matplotlib.cbook",
    "matplotlib.font_manager",
    "matplotlib.patches",
    "matplotlib.text",
    "matplotlib.collections",
    "matplotlib.image",
    "matplotlib.legend",
    "matplotlib.axes",
    "matplotlib.projections",
    "matplotlib.backends.backend_svg",
)
"""What the report draws with, in parts of 0.2 s at most: imported while the tasks before it are at work."""


def fork_server(preload: Sequence[str] = PRELOAD) -> ForkServer:
    """The process that the engine's tasks come from. Start it early: it imports what they need meanwhile."""
    os.environ["OVERLAY_STORE"] = default_store_url()
    os.environ[EMBEDDED] = "true"
    return ForkServer(preload, LATER if preload else ())
