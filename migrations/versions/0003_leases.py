"""Leases: who works on a delivery, whether the work has begun, and the message that brought it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "deliveries", sa.Column("begun", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column("deliveries", sa.Column("message_id", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("position", sa.Integer(), nullable=True))
    # `attempts` counted deliveries; from here on it counts those that ended without a row or a dead letter.
    op.execute("UPDATE deliveries SET attempts = 0 WHERE state = 'accepted'")


def downgrade() -> None:
    for column in ("position", "message_id", "begun"):
        op.drop_column("deliveries", column)
