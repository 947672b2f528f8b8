-- Makes hash partitions of the four tables that grow with every reflection; rows are kept. As the tables' owner, with
-- every worker stopped: it copies all rows under an exclusive lock. One transaction: all of it or nothing.
--     psql "$FELTSENSE_DATABASE_URL" --set ON_ERROR_STOP=1 --single-transaction --file docs/partitions.sql
--     feltsense roles --apply        # grants and row security are the new tables' own
-- Partitions: 16, or as  PGOPTIONS="-c feltsense.partitions=64"  says. docs/capacity.md: when, and what it costs.
DO $$
DECLARE
    parts int := coalesce(nullif(current_setting('feltsense.partitions', true), ''), '16')::int;
    -- The key is what every upsert names first (ON CONFLICT needs it in the primary key), so no statement changes.
    keys text[][] := '{{reflections,id},{traces,reflection_id},{perceptions,reflection_id},{deliveries,reflection_id}}';
    key text[];
    index record;
    kept record;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'reflections'::regclass) = 'p' THEN
        RAISE NOTICE 'the tables are partitioned already';
        RETURN;
    END IF;
    CREATE TEMP TABLE kept_views ON COMMIT DROP AS
        SELECT oid, relname, pg_get_viewdef(oid) AS query FROM pg_class
        WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace;
    CREATE TEMP TABLE kept_links ON COMMIT DROP AS
        SELECT conname, conrelid::regclass::text AS of, pg_get_constraintdef(oid) AS rule FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'reflections'::regclass;
    FOR kept IN SELECT * FROM kept_views ORDER BY oid DESC LOOP
        EXECUTE format('DROP VIEW %I', kept.relname);
    END LOOP;
    FOR kept IN SELECT * FROM kept_links LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', kept.of, kept.conname);
    END LOOP;
    FOREACH key SLICE 1 IN ARRAY keys LOOP
        EXECUTE format('ALTER TABLE %1$I RENAME TO %2$I', key[1], key[1] || '_whole');
        EXECUTE format('CREATE TABLE %1$I (LIKE %2$I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE'
            ' INCLUDING COMPRESSION) PARTITION BY HASH (%3$I)', key[1], key[1] || '_whole', key[2]);
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                key[1] || '_p' || part, key[1], parts, part);
        END LOOP;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', key[1], key[1] || '_whole');
        -- The old table's indexes, under their names, which migrations know.
        CREATE TEMP TABLE kept_indexes ON COMMIT DROP AS
            SELECT i.indexrelid::regclass::text AS name, i.indisprimary AS is_key, pg_get_indexdef(i.indexrelid) AS rule,
                   pg_get_constraintdef(c.oid) AS key_rule
            FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'p'
            WHERE i.indrelid = to_regclass(quote_ident(key[1] || '_whole'));
        EXECUTE format('DROP TABLE %I', key[1] || '_whole');
        FOR index IN SELECT * FROM kept_indexes LOOP
            IF index.is_key THEN
                EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %s %s', key[1], index.name, index.key_rule);
            ELSE
                EXECUTE replace(index.rule, key[1] || '_whole', key[1]);
            END IF;
        END LOOP;
        DROP TABLE kept_indexes;
    END LOOP;
    FOR kept IN SELECT * FROM kept_links LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', kept.of, kept.conname, kept.rule);
    END LOOP;
    FOR kept IN SELECT * FROM kept_views ORDER BY oid LOOP
        EXECUTE format('CREATE VIEW %I AS %s', kept.relname, kept.query);
    END LOOP;
END
$$;
ANALYZE;
