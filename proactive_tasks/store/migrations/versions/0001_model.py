"""The tables of the model: overlays, allocations, sites, links, certificates, measurements, events, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "allocations",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("prefix", sa.String(18), nullable=False),
        sa.Column("site", sa.String(31), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=True),
        sa.Column("released_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("overlay", "prefix", name=op.f("pk_allocations")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_overlay", "events", ["overlay", "id"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(255), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "overlays",
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("arrivals", sa.Integer(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("check", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_overlays")),
    )
    op.create_table(
        "authorities",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("crl", sa.Text(), nullable=False),
        sa.Column("crl_number", sa.Integer(), nullable=False),
        sa.Column("crl_next_update", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_authorities_overlay_overlays")),
        sa.PrimaryKeyConstraint("overlay", name=op.f("pk_authorities")),
    )
    op.create_table(
        "certificates",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("number", sa.String(50), nullable=False),
        sa.Column("site", sa.String(31), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("not_after", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_certificates_overlay_overlays")),
        sa.PrimaryKeyConstraint("overlay", "number", name=op.f("pk_certificates")),
    )
    op.create_table(
        "links",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("a", sa.String(31), nullable=False),
        sa.Column("b", sa.String(31), nullable=False),
        sa.Column("backend", sa.String(16), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("listener", sa.String(31), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("listening", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_links_overlay_overlays")),
        sa.PrimaryKeyConstraint("overlay", "a", "b", name=op.f("pk_links")),
        sa.UniqueConstraint("overlay", "index", name=op.f("uq_links_overlay")),
        sa.UniqueConstraint("overlay", "listener", "port", name="uq_links_listener_port"),
    )
    op.create_index("ix_links_b", "links", ["overlay", "b"], unique=False)
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("link", sa.String(64), nullable=False),
        sa.Column("source", sa.String(31), nullable=False),
        sa.Column("metric", sa.String(32), nullable=False),
        sa.Column("inside", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("method", sa.String(255), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_measurements_overlay_overlays")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
    )
    op.create_index(
        "ix_measurements_latest", "measurements", ["overlay", "link", "source", "metric", "inside", "id"], unique=False
    )
    op.create_table(
        "secrets",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_secrets_overlay_overlays")),
        sa.PrimaryKeyConstraint("overlay", "name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "sites",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("order", sa.Integer(), nullable=False),
        sa.Column("parent", sa.String(31), nullable=True),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("region", sa.String(63), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("subnet", sa.String(18), nullable=False),
        sa.Column("asn", sa.BigInteger(), nullable=False),
        sa.Column("prefixes", sa.JSON(), nullable=False),
        sa.Column("hosts", sa.Integer(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("machine", sa.String(255), nullable=False),
        sa.Column("public_address", sa.String(15), nullable=True),
        sa.Column("wan", sa.String(64), nullable=False),
        sa.Column("lan", sa.String(64), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=False),
        sa.Column("host_key_seeded", sa.Boolean(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["overlay"], ["overlays.name"], name=op.f("fk_sites_overlay_overlays")),
        sa.PrimaryKeyConstraint("overlay", "name", name=op.f("pk_sites")),
        sa.UniqueConstraint("overlay", "index", name=op.f("uq_sites_overlay")),
        sa.UniqueConstraint("overlay", "order", name="uq_sites_order"),
    )
    op.create_table(
        "specifications",
        sa.Column("overlay", sa.String(31), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["overlay"], ["overlays.name"], name=op.f("fk_specifications_overlay_overlays"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("overlay", "number", name=op.f("pk_specifications")),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "specifications",
        "sites",
        "secrets",
        "measurements",
        "links",
        "certificates",
        "authorities",
        "overlays",
        "leases",
        "events",
        "allocations",
    ):
        op.drop_table(table)
