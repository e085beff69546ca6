"""Several authorities of an overlay, so that one can give way to the next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Number the authorities; the gateways that were configured have the only one that there was."""
    with op.batch_alter_table("authorities") as table:
        table.add_column(sa.Column("number", sa.Integer(), nullable=False, server_default="1"))
        table.drop_constraint("pk_authorities", type_="primary")
        table.create_primary_key("pk_authorities", ["overlay", "number"])
    with op.batch_alter_table("sites") as table:
        table.add_column(sa.Column("trusts", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE sites SET trusts = 1 WHERE state IN ('connected', 'error')")
