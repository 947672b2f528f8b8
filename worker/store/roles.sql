-- The roles of a Feltsense database, each with no more rights than its work needs. Run it as the owner of the
-- tables, with the right to create roles, after every migration; again is harmless:
--     feltsense roles | psql "$FELTSENSE_DATABASE_URL"
-- They are groups without a login. A program logs in as a user of its own that is in one of them:
--     CREATE ROLE worker_1 LOGIN PASSWORD '...' IN ROLE feltsense_worker;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['migrator', 'worker', 'trainer', 'reader', 'reviewer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'feltsense_' || name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', 'feltsense_' || name);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO feltsense_migrator, feltsense_worker, feltsense_trainer,'
        ' feltsense_reader, feltsense_reviewer', current_database());
    -- What an earlier version of this file gave and this one does not is taken back.
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM feltsense_worker, feltsense_trainer,'
        ' feltsense_reader, feltsense_reviewer, PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM feltsense_worker, feltsense_trainer,'
        ' feltsense_reader, feltsense_reviewer, PUBLIC';
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO feltsense_migrator, feltsense_worker, feltsense_trainer, feltsense_reader, feltsense_reviewer;

-- The migrator changes tables, so it is what owns them: whoever runs `alembic` or `feltsense up` is in this
-- role and in no other.
GRANT CREATE ON SCHEMA public TO feltsense_migrator;

-- The worker writes rows and, for erasures and retention, deletes them. It changes no table, truncates none,
-- and neither trains nor reviews.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    reflections, traces, perceptions, deliveries, dead_letters, persons, repairs TO feltsense_worker;
GRANT SELECT, INSERT, UPDATE ON reenrichments TO feltsense_worker;
GRANT SELECT, INSERT, UPDATE ON model_versions TO feltsense_worker;
GRANT SELECT, INSERT ON model_events TO feltsense_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON slots TO feltsense_worker;
GRANT SELECT, DELETE ON labels, reviews TO feltsense_worker;
GRANT SELECT ON current_perceptions, daily_mood, risk_queue, alembic_version TO feltsense_worker;
GRANT USAGE ON SEQUENCE dead_letters_id_seq, repairs_id_seq, model_events_id_seq, reenrichments_id_seq
    TO feltsense_worker;

-- The trainer reads what people consented to and nothing else of them (see the policies), and keeps its books.
GRANT SELECT ON reflections, labels, persons, consented_perceptions, alembic_version TO feltsense_trainer;
GRANT SELECT, INSERT, UPDATE ON model_versions, training_runs, slots TO feltsense_trainer;
GRANT SELECT, INSERT ON model_events TO feltsense_trainer;
GRANT SELECT, INSERT, DELETE ON drift_checks TO feltsense_trainer;
GRANT USAGE ON SEQUENCE training_runs_id_seq, model_events_id_seq TO feltsense_trainer;

-- A reader sees values, never a text; views look with their owner's eyes.
GRANT SELECT ON current_perceptions, daily_mood TO feltsense_reader;

-- A reviewer reads the texts that ask for a human and adds a verdict; a verdict once given stays.
GRANT SELECT ON risk_queue, current_perceptions, reflections, persons, reviews TO feltsense_reviewer;
GRANT INSERT ON reviews TO feltsense_reviewer;
GRANT SELECT, INSERT, UPDATE ON labels TO feltsense_reviewer;
GRANT USAGE ON SEQUENCE reviews_id_seq TO feltsense_reviewer;

-- Which rows: the owner and the worker every one, the others those of their work.
ALTER TABLE reflections ENABLE ROW LEVEL SECURITY;
ALTER TABLE labels ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS worker_all ON reflections;
DROP POLICY IF EXISTS trainer_consented ON reflections;
DROP POLICY IF EXISTS reviewer_at_risk ON reflections;
DROP POLICY IF EXISTS worker_all ON labels;
DROP POLICY IF EXISTS trainer_consented ON labels;
DROP POLICY IF EXISTS reviewer_own ON labels;
CREATE POLICY worker_all ON reflections TO feltsense_worker USING (true);
CREATE POLICY trainer_consented ON reflections FOR SELECT TO feltsense_trainer
    USING (consent_training AND deleted_at IS NULL);
CREATE POLICY reviewer_at_risk ON reflections FOR SELECT TO feltsense_reviewer
    USING (deleted_at IS NULL AND id IN (SELECT reflection_id FROM risk_queue));
CREATE POLICY worker_all ON labels TO feltsense_worker USING (true);
CREATE POLICY trainer_consented ON labels FOR SELECT TO feltsense_trainer
    USING (EXISTS (SELECT FROM reflections r WHERE r.id = reflection_id));
CREATE POLICY reviewer_own ON labels TO feltsense_reviewer
    USING (source = 'reviewer') WITH CHECK (source = 'reviewer');
