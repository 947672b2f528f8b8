"""The people a bundle was trained on become one value of digests, as in the bundle's own file; the text array
was never filled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("model_versions_people_idx", table_name="model_versions", postgresql_using="gin")
    op.drop_column("model_versions", "people")
    op.add_column(
        "model_versions",
        sa.Column("people", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("model_versions", "people")
    op.add_column(
        "model_versions",
        sa.Column("people", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_index(
        "model_versions_people_idx", "model_versions", ["people"], unique=False, postgresql_using="gin"
    )
