"""Dual review: reviewers' accounts, cases, claims, verdicts of two kinds, the chained log; risk labels; and a
risk queue ordered by the flags that make the level.

What a single reader said before stays as kind `single` and settles nothing: those rows are to be read again,
by two.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

QUEUE = """
CREATE OR REPLACE VIEW risk_queue AS
SELECT waiting.reflection_id, waiting.user_id, waiting.created_at, waiting.revision, waiting.source,
       waiting.model_version, waiting.level, waiting.score, waiting.flags, EXISTS (
    SELECT FROM review_cases c
    WHERE c.reflection_id = waiting.reflection_id AND c.revision >= waiting.revision
      AND c.settled_at IS NOT NULL
) AS reviewed, waiting.thresholds
FROM (
    SELECT p.reflection_id, p.user_id, p.created_at, p.revision, 'perception' AS source, p.model_version,
           p.risk_level AS level, p.risk_score AS score, p.risk -> 'flags' AS flags,
           p.risk -> 'thresholds' AS thresholds
    FROM perceptions p
    JOIN reflections r ON r.id = p.reflection_id AND r.revision = p.revision
    WHERE p.risk_level IN ('medium', 'high')
      AND p.model_version = (
          SELECT c.model_version FROM current_perceptions c
          WHERE c.user_id = p.user_id AND c.reflection_id = p.reflection_id
      )
    UNION ALL
    SELECT r.id, r.user_id, r.created_at, r.revision, 'screen', NULL, r.screen_level, r.screen_score,
           r.screen -> 'flags', r.screen -> 'thresholds'
    FROM reflections r
    WHERE r.screen_level IN ('medium', 'high') AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM perceptions p WHERE p.reflection_id = r.id AND p.revision = r.revision)
) waiting
ORDER BY reviewed, level = 'high' DESC, score DESC, created_at
"""

QUEUE_BEFORE = """
CREATE VIEW risk_queue AS
SELECT waiting.*, EXISTS (
    SELECT FROM reviews v WHERE v.reflection_id = waiting.reflection_id AND v.revision >= waiting.revision
) AS reviewed
FROM (
    SELECT p.reflection_id, p.user_id, p.created_at, p.revision, 'perception' AS source, p.model_version,
           p.risk_level AS level, p.risk_score AS score, p.risk -> 'flags' AS flags
    FROM perceptions p
    JOIN reflections r ON r.id = p.reflection_id AND r.revision = p.revision
    WHERE p.risk_level IN ('medium', 'high')
      AND p.model_version = (
          SELECT c.model_version FROM current_perceptions c
          WHERE c.user_id = p.user_id AND c.reflection_id = p.reflection_id
      )
    UNION ALL
    SELECT r.id, r.user_id, r.created_at, r.revision, 'screen', NULL, r.screen_level, r.screen_score,
           r.screen -> 'flags'
    FROM reflections r
    WHERE r.screen_level IN ('medium', 'high') AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM perceptions p WHERE p.reflection_id = r.id AND p.revision = r.revision)
) waiting
ORDER BY reviewed, level = 'high' DESC, score DESC, created_at
"""

# What training must not see: the trainer's row security and `feltsense labels` both ask this.
AWAITING = """
CREATE VIEW awaiting_review AS
SELECT q.reflection_id, r.consent_training
FROM risk_queue q JOIN reflections r ON r.id = q.reflection_id
WHERE q.level = 'high' AND NOT q.reviewed
"""

# The flags that reach the row's level by themselves; shares as in worker/risk/level.py.
SCORE = """
UPDATE {table} t SET {score} = coalesce((
    SELECT max(f.value::float8)
    FROM jsonb_each_text(t.{risk} -> 'flags') f JOIN jsonb_each_text(t.{risk} -> 'thresholds') h USING (key)
    WHERE {which}
), t.{score})
WHERE t.{level} IN ('medium', 'high')
"""
LEADING = """
(f.key IN ('suicidal_ideation', 'self_harm', 'harm_to_others', 'abuse', 'financial_coercion')
 AND f.value::float8 >= h.value::float8 * CASE t.{level} WHEN 'high' THEN 1 ELSE 0.7 END)
OR (t.{level} = 'medium' AND f.key = 'sociopathic_cues' AND f.value::float8 >= h.value::float8)
"""
SCORED = (
    {"table": "perceptions", "score": "risk_score", "risk": "risk", "level": "risk_level"},
    {"table": "reflections", "score": "screen_score", "risk": "screen", "level": "screen_level"},
)

# Whoever inserts: number, time, predecessor and hash are not theirs to choose. The lock orders the writers,
# and the next statement of a volatile function sees what the former holder committed.
CHAIN = """
CREATE FUNCTION review_log_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('feltsense.review', 0));
    SELECT seq, hash INTO last FROM public.review_log ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(last.seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.previous := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    NEW.hash := sha256(NEW.previous || convert_to(concat_ws(E'\\n', NEW.seq,
        (extract(epoch FROM NEW.at) * 1000000)::bigint, NEW.actor, NEW.action,
        coalesce(NEW.case_id::text, ''), NEW.detail), 'UTF8'));
    RETURN NEW;
END
$$;
CREATE TRIGGER review_log_chain BEFORE INSERT ON review_log
    FOR EACH ROW EXECUTE FUNCTION review_log_chain();
CREATE FUNCTION review_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'review_log is append-only' USING ERRCODE = 'restrict_violation', TABLE = 'review_log';
END
$$;
CREATE TRIGGER review_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON review_log
    FOR EACH STATEMENT EXECUTE FUNCTION review_log_stays();
"""

DECIDED = "decision IN ('act_now', 'watch', 'no_risk')"


def upgrade() -> None:
    op.create_table(
        "reviewers",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'", name=op.f("reviewers_name_check")),
        sa.PrimaryKeyConstraint("name", name=op.f("reviewers_pkey")),
    )
    op.create_table(
        "review_cases",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("reflection_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("flags", sa.ARRAY(sa.Text()), nullable=True),
        sa.CheckConstraint(
            f"(settled_at IS NULL) = (decision IS NULL) AND {DECIDED}",
            name=op.f("review_cases_decision_check"),
        ),
        sa.ForeignKeyConstraint(
            ["reflection_id"],
            ["reflections.id"],
            name=op.f("review_cases_reflection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("review_cases_pkey")),
        sa.UniqueConstraint(
            "reflection_id", "revision", name=op.f("review_cases_reflection_id_revision_key")
        ),
    )
    op.create_table(
        "review_claims",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("reviewer", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("skipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('review', 'adjudication')", name=op.f("review_claims_kind_check")),
        sa.ForeignKeyConstraint(
            ["case_id"], ["review_cases.id"], name=op.f("review_claims_case_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["reviewer"], ["reviewers.name"], name=op.f("review_claims_reviewer_fkey")),
        sa.PrimaryKeyConstraint("case_id", "reviewer", name=op.f("review_claims_pkey")),
    )
    op.create_table(
        "review_log",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("review_log_pkey")),
    )
    op.create_index("review_log_actor_at_idx", "review_log", ["actor", "at"], unique=False)
    op.execute(CHAIN)
    op.add_column("labels", sa.Column("risk", JSONB(), nullable=True))

    op.add_column("reviews", sa.Column("kind", sa.Text(), server_default="single", nullable=False))
    op.add_column("reviews", sa.Column("flags", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("reviews", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("reviews_kind_check"),
        "reviews",
        f"kind = 'single' OR (kind IN ('review', 'adjudication') AND {DECIDED})",
    )
    op.create_check_constraint(op.f("reviews_sealed_check"), "reviews", "num_nonnulls(note, sealed) <= 1")
    op.create_index(
        "reviews_once_idx",
        "reviews",
        ["reflection_id", "revision", "reviewer"],
        unique=True,
        postgresql_where=sa.text("kind <> 'single'"),
    )
    op.execute(QUEUE)
    op.execute(AWAITING)
    for names in SCORED:
        op.execute(SCORE.format(which=LEADING.format(**names), **names))


def downgrade() -> None:
    """The log, accounts and what was settled are lost. Row security that asked the views goes with them, so
    the trainer and reviewers see nothing until `feltsense roles` of the older version ran."""
    op.execute("DROP POLICY IF EXISTS trainer_consented ON reflections")
    op.execute("DROP POLICY IF EXISTS reviewer_at_risk ON reflections")
    op.execute("DROP VIEW awaiting_review")
    op.execute("DROP VIEW risk_queue")
    op.execute(QUEUE_BEFORE)
    for names in SCORED:
        op.execute(SCORE.format(which="true", **names))
    op.drop_index("reviews_once_idx", table_name="reviews")
    op.drop_constraint(op.f("reviews_sealed_check"), "reviews", type_="check")
    op.drop_constraint(op.f("reviews_kind_check"), "reviews", type_="check")
    for column in ("sealed", "flags", "kind"):
        op.drop_column("reviews", column)
    op.drop_column("labels", "risk")
    for table in ("review_log", "review_claims", "review_cases", "reviewers"):
        op.drop_table(table)
    op.execute("DROP FUNCTION review_log_chain()")
    op.execute("DROP FUNCTION review_log_stays()")
