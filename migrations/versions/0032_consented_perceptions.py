"""What the trainer may see of perceptions: those of reflections whose writers consented to training."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# A view looks with its owner's eyes, so the trainer needs no right on the perceptions of everybody.
CONSENTED_PERCEPTIONS = """
CREATE VIEW consented_perceptions AS
SELECT p.reflection_id, p.model_version, p.user_id, p.revision, p.created_at, r.received_at, p.valence,
       p.arousal, p.invoked, p.expressed, p.willingness, p.congruence, p.comparator, p.expected_valence,
       p.expected_arousal, p.intervals, p.language, p.language_supported, p.risk_level, p.risk_score,
       p.enriched_at, r.self_valence, r.self_arousal, r.self_emotion
FROM perceptions p
JOIN reflections r ON r.id = p.reflection_id AND r.revision = p.revision
WHERE r.consent_training AND r.deleted_at IS NULL
"""


def upgrade() -> None:
    op.execute(CONSENTED_PERCEPTIONS)


def downgrade() -> None:
    op.execute("DROP VIEW consented_perceptions")
