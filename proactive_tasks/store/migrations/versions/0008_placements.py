"""What runs where, as reconfiguration plans tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "placements",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("region", sa.String(63), nullable=False),
        sa.Column("fragment", sa.String(255), nullable=False),
        sa.Column("instance", sa.String(255), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["overlay"], ["overlays.name"], name="fk_placements_overlay_overlays", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("overlay", "provider", "region", "fragment", "instance", name="pk_placements"),
    )
