"""Jobs that an endpoint keeps over its own end, and its users' third-party credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from proactive_tasks.store.base import Moment

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("user", sa.String(255), nullable=True))
        table.add_column(sa.Column("started", Moment, nullable=True))
        table.add_column(sa.Column("shown", sa.JSON, nullable=True))
        table.add_column(sa.Column("typed_result_map", sa.JSON, nullable=True))
        table.add_column(sa.Column("sealed", sa.LargeBinary, nullable=True))
    with op.batch_alter_table("job_task") as table:
        table.add_column(sa.Column("shown", sa.JSON, nullable=True))
        table.add_column(sa.Column("sealed", sa.LargeBinary, nullable=True))
    op.create_table(
        "endpoint_credential",
        sa.Column("user", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
