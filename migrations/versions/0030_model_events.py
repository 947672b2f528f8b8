"""Where a bundle lies, which version is tried beside the serving one, and the history of what served when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("location", sa.Text(), nullable=True))
    op.add_column("model_versions", sa.Column("shadow_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "model_versions_shadow_idx",
        "model_versions",
        [sa.text("(shadow_since IS NOT NULL)")],
        unique=True,
        postgresql_where=sa.text("shadow_since IS NOT NULL"),
    )
    op.create_table(
        "model_events",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("version", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('registered', 'shadowed', 'refused', 'promoted', 'rolled_back', 'swapped',"
            " 'swap_failed', 'reenriched')",
            name=op.f("model_events_kind_check"),
        ),
        sa.ForeignKeyConstraint(
            ["version"],
            ["model_versions.version"],
            name=op.f("model_events_version_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("model_events_pkey")),
    )
    op.create_index("model_events_version_at_idx", "model_events", ["version", "at"], unique=False)
    # What served before there was a history: the latest activation of each version is all that is known.
    op.execute(
        "INSERT INTO model_events (version, kind, at) SELECT version, 'promoted', activated_at"
        " FROM model_versions WHERE activated_at IS NOT NULL ORDER BY activated_at"
    )


def downgrade() -> None:
    op.drop_table("model_events")
    op.drop_index("model_versions_shadow_idx", table_name="model_versions")
    op.drop_column("model_versions", "shadow_since")
    op.drop_column("model_versions", "location")
