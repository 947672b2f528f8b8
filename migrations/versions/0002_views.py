"""The views readers query: one row per reflection, mood by day, and what a reviewer should read first."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# DISTINCT ON names user_id too (a reflection has one): so a reader's `WHERE user_id = ...` reaches the index.
CURRENT_PERCEPTIONS = """
CREATE VIEW current_perceptions AS
SELECT DISTINCT ON (p.user_id, p.reflection_id) p.*
FROM perceptions p
LEFT JOIN model_versions m ON m.version = p.model_version AND m.active
ORDER BY p.user_id, p.reflection_id, m.active DESC NULLS LAST, p.enriched_at DESC, p.model_version DESC
"""

DAILY_MOOD = """
CREATE VIEW daily_mood AS
SELECT c.user_id, r.local_day AS day, avg(c.valence) AS valence, avg(c.arousal) AS arousal,
       count(*) AS reflections
FROM current_perceptions c
JOIN reflections r ON r.id = c.reflection_id
GROUP BY c.user_id, r.local_day
"""

# An edited reflection whose new revision has no perception yet counts by its screen, and needs a new review.
RISK_QUEUE = """
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


def upgrade() -> None:
    for view in (CURRENT_PERCEPTIONS, DAILY_MOOD, RISK_QUEUE):
        op.execute(view)


def downgrade() -> None:
    for view in ("risk_queue", "daily_mood", "current_perceptions"):
        op.execute(f"DROP VIEW {view}")
