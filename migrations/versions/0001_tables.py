"""The tables of the first slice: reflections, traces, perceptions and what keeps account of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("message_id", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("user_id", sa.Text(collation="C"), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("position >= -1", name=op.f("dead_letters_position_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letters_pkey")),
        sa.UniqueConstraint("message_id", "position", name=op.f("dead_letters_message_id_position_key")),
    )
    op.create_index("dead_letters_reflection_id_idx", "dead_letters", ["reflection_id"], unique=False)
    op.create_index("dead_letters_user_id_idx", "dead_letters", ["user_id"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("version", sa.Text(collation="C"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("people", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("model_versions_pkey")),
        sa.UniqueConstraint("digest", name=op.f("model_versions_digest_key")),
    )
    op.create_index(
        "model_versions_active_idx",
        "model_versions",
        ["active"],
        unique=True,
        postgresql_where=sa.text("active"),
    )
    op.create_index(
        "model_versions_people_idx", "model_versions", ["people"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "reflections",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("utc_offset_min", sa.Integer(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("local_day", sa.Date(), nullable=False),
        sa.Column("lang", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("self_valence", sa.Double(), nullable=True),
        sa.Column("self_arousal", sa.Double(), nullable=True),
        sa.Column("self_emotion", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("screen_level", sa.Text(), nullable=False),
        sa.Column("screen_score", sa.Double(), nullable=False),
        sa.Column("screen", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "screen_level IN ('none', 'low', 'medium', 'high')", name=op.f("reflections_screen_level_check")
        ),
        sa.CheckConstraint("revision >= 1", name=op.f("reflections_revision_check")),
        sa.CheckConstraint("screen_score BETWEEN 0 AND 1", name=op.f("reflections_screen_score_check")),
        sa.CheckConstraint("self_arousal BETWEEN 0 AND 1", name=op.f("reflections_self_arousal_check")),
        sa.CheckConstraint("self_valence BETWEEN 0 AND 1", name=op.f("reflections_self_valence_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("reflections_pkey")),
    )
    op.create_index(
        "reflections_screen_idx",
        "reflections",
        [sa.literal_column("screen_score DESC")],
        unique=False,
        postgresql_where=sa.text("screen_level IN ('medium', 'high')"),
    )
    op.create_index(
        "reflections_user_id_created_at_idx",
        "reflections",
        ["user_id", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('accepted', 'done', 'dead')", name=op.f("deliveries_state_check")),
        sa.ForeignKeyConstraint(
            ["reflection_id"],
            ["reflections.id"],
            name=op.f("deliveries_reflection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("reflection_id", "revision", name=op.f("deliveries_pkey")),
    )
    op.create_index(
        "deliveries_open_idx",
        "deliveries",
        ["accepted_at"],
        unique=False,
        postgresql_where=sa.text("state = 'accepted'"),
    )
    op.create_table(
        "labels",
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("valence", sa.Double(), nullable=True),
        sa.Column("arousal", sa.Double(), nullable=True),
        sa.Column("willingness", sa.Double(), nullable=True),
        sa.Column("invoked", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("expressed", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("labelled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "source IN ('self_report', 'reviewer', 'annotator')", name=op.f("labels_source_check")
        ),
        sa.CheckConstraint("arousal BETWEEN 0 AND 1", name=op.f("labels_arousal_check")),
        sa.CheckConstraint("valence BETWEEN 0 AND 1", name=op.f("labels_valence_check")),
        sa.CheckConstraint("willingness BETWEEN 0 AND 1", name=op.f("labels_willingness_check")),
        sa.ForeignKeyConstraint(
            ["reflection_id"], ["reflections.id"], name=op.f("labels_reflection_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reflection_id", "source", name=op.f("labels_pkey")),
    )
    op.create_index("labels_user_id_idx", "labels", ["user_id"], unique=False)
    op.create_table(
        "perceptions",
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valence", sa.Double(), nullable=False),
        sa.Column("arousal", sa.Double(), nullable=False),
        sa.Column("invoked", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("expressed", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("willingness", sa.Double(), nullable=False),
        sa.Column("congruence", sa.Double(), nullable=False),
        sa.Column("comparator", sa.Double(), nullable=False),
        sa.Column("expected_valence", sa.Double(), nullable=False),
        sa.Column("expected_arousal", sa.Double(), nullable=False),
        sa.Column("intervals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("emotions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("language_supported", sa.Boolean(), nullable=False),
        sa.Column("risk_level", sa.Text(), nullable=False),
        sa.Column("risk_score", sa.Double(), nullable=False),
        sa.Column("risk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("provenance", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("enriched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("repaired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "risk_level IN ('none', 'low', 'medium', 'high')", name=op.f("perceptions_risk_level_check")
        ),
        sa.CheckConstraint("arousal BETWEEN 0 AND 1", name=op.f("perceptions_arousal_check")),
        sa.CheckConstraint("cardinality(expressed) <= 3", name=op.f("perceptions_expressed_check")),
        sa.CheckConstraint("cardinality(invoked) <= 3", name=op.f("perceptions_invoked_check")),
        sa.CheckConstraint("comparator BETWEEN -1 AND 1", name=op.f("perceptions_comparator_check")),
        sa.CheckConstraint("congruence BETWEEN 0 AND 1", name=op.f("perceptions_congruence_check")),
        sa.CheckConstraint(
            "expected_arousal BETWEEN 0 AND 1", name=op.f("perceptions_expected_arousal_check")
        ),
        sa.CheckConstraint(
            "expected_valence BETWEEN 0 AND 1", name=op.f("perceptions_expected_valence_check")
        ),
        sa.CheckConstraint("revision >= 1", name=op.f("perceptions_revision_check")),
        sa.CheckConstraint("risk_score BETWEEN 0 AND 1", name=op.f("perceptions_risk_score_check")),
        sa.CheckConstraint("valence BETWEEN 0 AND 1", name=op.f("perceptions_valence_check")),
        sa.CheckConstraint("willingness BETWEEN 0 AND 1", name=op.f("perceptions_willingness_check")),
        sa.ForeignKeyConstraint(
            ["reflection_id"],
            ["reflections.id"],
            name=op.f("perceptions_reflection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("reflection_id", "model_version", name=op.f("perceptions_pkey")),
    )
    op.create_index(
        "perceptions_risk_idx",
        "perceptions",
        [sa.literal_column("risk_score DESC")],
        unique=False,
        postgresql_where=sa.text("risk_level IN ('medium', 'high')"),
    )
    op.create_index(
        "perceptions_user_id_created_at_idx",
        "perceptions",
        ["user_id", sa.literal_column("created_at DESC"), sa.literal_column("reflection_id DESC")],
        unique=False,
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("revision >= 1", name=op.f("reviews_revision_check")),
        sa.ForeignKeyConstraint(
            ["reflection_id"], ["reflections.id"], name=op.f("reviews_reflection_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("reviews_pkey")),
    )
    op.create_index("reviews_reflection_id_idx", "reviews", ["reflection_id", "revision"], unique=False)
    op.create_table(
        "traces",
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("static", sa.LargeBinary(), nullable=False),
        sa.Column("history", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reflection_id"], ["reflections.id"], name=op.f("traces_reflection_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reflection_id", "model_version", name=op.f("traces_pkey")),
    )
    op.create_index(
        "traces_timeline_idx",
        "traces",
        [
            "user_id",
            "model_version",
            sa.literal_column("created_at DESC"),
            sa.literal_column("reflection_id DESC"),
        ],
        unique=False,
    )
    op.create_table(
        "training_runs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(collation="C"), nullable=True),
        sa.Column(
            "metrics", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name=op.f("training_runs_state_check")),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.version"],
            name=op.f("training_runs_model_version_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("training_runs_pkey")),
        sa.UniqueConstraint("slot", name=op.f("training_runs_slot_key")),
    )


def downgrade() -> None:
    # Dropping a table drops its indexes; children go before the tables they refer to.
    for table in (
        "training_runs",
        "traces",
        "reviews",
        "perceptions",
        "labels",
        "deliveries",
        "reflections",
        "model_versions",
        "dead_letters",
    ):
        op.drop_table(table)
