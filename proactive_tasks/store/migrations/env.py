"""Alembic's entry point: runs the migrations on the connection that the store hands over."""

from __future__ import annotations

from alembic import context

from proactive_tasks.store import catalog, endpoint_credentials, jobs, node_sources, tables  # noqa: F401 - they define the tables
from proactive_tasks.store.base import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
