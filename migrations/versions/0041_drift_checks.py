"""What the drift and calibration checks found, a row for each measure and slice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_checks",
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=False),
        sa.Column("effect", sa.Double(), nullable=False),
        sa.Column("floor", sa.Double(), nullable=False),
        sa.Column("chance", sa.Double(), nullable=False),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("reference_rows", sa.Integer(), nullable=False),
        sa.Column("current_rows", sa.Integer(), nullable=False),
        sa.Column("reference_people", sa.Integer(), nullable=False),
        sa.Column("current_people", sa.Integer(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('inputs', 'outputs', 'calibration')", name=op.f("drift_checks_kind_check")
        ),
        sa.PrimaryKeyConstraint("slot", "measure", "slice", name=op.f("drift_checks_pkey")),
    )
    op.create_index("drift_checks_checked_at_idx", "drift_checks", ["checked_at"])


def downgrade() -> None:
    op.drop_table("drift_checks")
