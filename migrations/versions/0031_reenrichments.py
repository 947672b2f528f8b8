"""Wishes for rows of another version; the order of arrival can be asked for; readers never get the rows of a
version that is only tried while there are others.

A B-tree in the place of the BRIN index, for a worker's sessions use no bitmap scan and so no BRIN.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# Named one by one: the view has had these columns since it was made, whatever the table has got since.
COLUMNS = ", ".join(
    f"p.{name}"
    for name in (
        *("reflection_id", "model_version", "user_id", "revision", "created_at", "valence", "arousal"),
        *("invoked", "expressed", "willingness", "congruence", "comparator", "expected_valence"),
        *("expected_arousal", "intervals", "emotions", "language", "language_supported", "risk_level"),
        *("risk_score", "risk", "provenance", "timings", "enriched_at", "repaired_at"),
    )
)
VIEW = f"""
CREATE OR REPLACE VIEW current_perceptions AS
SELECT DISTINCT ON (p.user_id, p.reflection_id) {COLUMNS}
FROM perceptions p
LEFT JOIN model_versions m ON m.version = p.model_version{{joined}}
ORDER BY p.user_id, p.reflection_id, {{first}}, p.enriched_at DESC, p.model_version DESC
"""  # noqa: S608 - constants of ours
BEFORE = {"joined": " AND m.active", "first": "m.active DESC NULLS LAST"}
# What served once before what never did.
AFTER = {
    "joined": "",
    "first": "coalesce(m.active, false) DESC, (m.activated_at IS NULL OR m.shadow_since IS NOT NULL)",
}


def upgrade() -> None:
    op.create_table(
        "reenrichments",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("version", sa.Text(collation="C"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("users", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column(
            "requested_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["version"],
            ["model_versions.version"],
            name=op.f("reenrichments_version_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("reenrichments_pkey")),
    )
    op.create_index("reenrichments_version_idx", "reenrichments", ["version", "id"])
    op.add_column(
        "repairs", sa.Column("whole", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.drop_index("reflections_received_at_idx", table_name="reflections")
    op.create_index("reflections_received_at_idx", "reflections", ["received_at"])
    op.execute(VIEW.format(**AFTER))


def downgrade() -> None:
    op.execute(VIEW.format(**BEFORE))
    op.drop_index("reflections_received_at_idx", table_name="reflections")
    op.create_index("reflections_received_at_idx", "reflections", ["received_at"], postgresql_using="brin")
    op.drop_column("repairs", "whole")
    op.drop_table("reenrichments")
