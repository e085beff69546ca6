"""Node sources that an endpoint keeps over its own end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "endpoint_node_source",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("admin", sa.String(255), nullable=False),
        sa.Column("deployed", sa.Boolean(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
    )
