"""One row a person: wrapped data keys, and the mark of an erasure; texts and payloads may be sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "persons",
        sa.Column("person", sa.LargeBinary(), nullable=False),
        sa.Column("kids", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("wrapped", sa.ARRAY(sa.LargeBinary()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(person) = 32", name=op.f("persons_person_check")),
        sa.CheckConstraint(
            "cardinality(kids) = cardinality(wrapped) AND cardinality(kids) < 256",
            name=op.f("persons_kids_check"),
        ),
        sa.PrimaryKeyConstraint("person", name=op.f("persons_pkey")),
    )
    op.add_column("reflections", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("reflections_sealed_check"), "reflections", "num_nonnulls(text, sealed) <= 1"
    )
    op.add_column(
        "dead_letters", sa.Column("sealed", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(
        "reflections_received_at_idx", "reflections", ["received_at"], unique=False, postgresql_using="brin"
    )


def downgrade() -> None:
    """What is sealed is lost: the column that holds it and the keys that open it go."""
    op.drop_index("reflections_received_at_idx", table_name="reflections", postgresql_using="brin")
    op.execute("UPDATE dead_letters SET payload = NULL WHERE sealed")
    op.drop_column("dead_letters", "sealed")
    op.drop_constraint(op.f("reflections_sealed_check"), "reflections", type_="check")
    op.drop_column("reflections", "sealed")
    op.drop_table("persons")
