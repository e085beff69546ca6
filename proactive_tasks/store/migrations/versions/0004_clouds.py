"""Gateways with one interface, gateways that bear their address themselves, and what is made at providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    with op.batch_alter_table("sites") as table:
        table.add_column(sa.Column("lan_router", sa.String(15), nullable=True))
        table.add_column(sa.Column("bears_address", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "resources",
        sa.Column("overlay", sa.String(31), sa.ForeignKey("overlays.name"), nullable=False),
        sa.Column("site", sa.String(31), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("intended_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("overlay", "site", "kind", "name", name="pk_resources"),
    )
