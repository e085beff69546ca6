"""Jobs of the embedded engine, their tasks, what they printed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from proactive_tasks.store.base import Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "job",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("variables", sa.JSON, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("submitted", Moment, nullable=False),
        sa.Column("beat", Moment, nullable=False),
        sa.Column("finished", Moment, nullable=True),
        sa.Column("result_map", sa.JSON, nullable=False),
    )
    op.create_table(
        "job_task",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.Integer, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("executions", sa.Integer, nullable=False),
        sa.Column("progress", sa.Integer, nullable=False),
        sa.Column("started", Moment, nullable=True),
        sa.Column("finished", Moment, nullable=True),
        sa.Column("result", sa.Text, nullable=True),
        sa.Column("result_metadata", sa.JSON, nullable=False),
        sa.Column("error", sa.Text, nullable=True),
        sa.UniqueConstraint("job_id", "number"),
    )
    op.create_table(
        "job_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.Integer, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("moment", Moment, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("stream", sa.String(3), nullable=False),
        sa.Column("line", sa.Text, nullable=False),
    )
    op.create_index(None, "job_log", ["job_id"])


def downgrade() -> None:
    """Take them away, with all records of jobs."""
    for table in ("job_log", "job_task", "job"):
        op.drop_table(table)
