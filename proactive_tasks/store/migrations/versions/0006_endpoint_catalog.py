"""The catalog of the embedded engine's endpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "catalog_bucket",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
    )
    op.create_table(
        "catalog_object",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bucket", sa.String(63), sa.ForeignKey("catalog_bucket.name"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("extension", sa.String(255), nullable=False),
        sa.Column("latest", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("bucket", "name"),
    )
    op.create_table(
        "catalog_revision",
        sa.Column("object_id", sa.Integer, sa.ForeignKey("catalog_object.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("committed", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("message", sa.String(255), nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("key_values", sa.JSON, nullable=False),
        sa.Column("variables", sa.JSON, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
