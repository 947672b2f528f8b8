"""Changes of the past whose far rows wait to be placed again, and for which reflections a row was repaired.

The views stay as they are: whom a row was repaired for is asked of the table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "repairs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cause", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("repairs_pkey")),
    )
    op.create_index("repairs_model_version_id_idx", "repairs", ["model_version", "id"], unique=False)
    op.create_index("repairs_user_id_idx", "repairs", ["user_id"], unique=False)
    op.add_column("perceptions", sa.Column("repaired_by", sa.ARRAY(sa.Text()), nullable=True))


def downgrade() -> None:
    op.drop_column("perceptions", "repaired_by")
    op.drop_table("repairs")
