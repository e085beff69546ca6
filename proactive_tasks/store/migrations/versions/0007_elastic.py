"""What the watcher of node sources has seen and asked for, and which sources' nodes have the overlay's token."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from proactive_tasks.store.base import Moment

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "elastic_feeds",
        sa.Column("overlay", sa.String(31), sa.ForeignKey("overlays.name"), nullable=False),
        sa.Column("server", sa.String(255), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("landmarks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("overlay", name="pk_elastic_feeds"),
    )
    op.create_table(
        "elastic_sites",
        sa.Column("overlay", sa.String(31), sa.ForeignKey("overlays.name"), nullable=False),
        sa.Column("site", sa.String(31), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.Column("absent_since", Moment(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("action", sa.String(16), nullable=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("job", sa.BigInteger(), nullable=True),
        sa.Column("asked_at", Moment(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("stood", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("overlay", "site", name="pk_elastic_sites"),
    )
    op.create_table(
        "elastic_tokens",
        sa.Column("overlay", sa.String(31), sa.ForeignKey("overlays.name"), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("site", sa.String(31), nullable=False),
        sa.PrimaryKeyConstraint("overlay", "source", name="pk_elastic_tokens"),
    )
