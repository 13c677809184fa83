-- What the coordinator's database needs of a superuser, once. Run it in that database, where these two roles exist:
--   trawl   owns the database; the coordinator connects as it. It is no superuser and makes no roles.
--   reader  logs in to read results, and can do nothing else.
-- A blank line ends each statement, and none stands inside one: some programs tell statements apart by that.

ALTER ROLE trawl NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

ALTER ROLE reader NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 16;

-- The views are granted to this role. Another database of this cluster may have made it.
DO $$
BEGIN
    CREATE ROLE trawl_reader NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

GRANT trawl_reader TO reader;

-- A member may end a role's sessions: the coordinator ends those of readers that hold a snapshot for too long. A reader can lift its
-- own statement_timeout, so a setting would not do.
GRANT reader TO trawl;

-- What sorts of its queries take of the disk. It cannot lift this one.
ALTER ROLE reader SET temp_file_limit = '1GB';

-- These three it can, and they are there for accidents: a write, and a query or a transaction that was forgotten.
ALTER ROLE reader SET default_transaction_read_only = on;

ALTER ROLE reader SET statement_timeout = '5min';

ALTER ROLE reader SET idle_in_transaction_session_timeout = '1min';

-- The role has the name of the schema of the views, which the default "$user", public would put first: tables made without a schema's
-- name, such as the migrations' own, would land there.
ALTER ROLE trawl SET search_path TO public;

-- As it is in every new database; one that came from before Postgres 15 may still let everybody make tables.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Readers keep nothing: no temporary tables, no large objects, no messages in the log of changes, no exported snapshots. They hold no
-- advisory locks, which coordinators use.
DO $$
DECLARE
    routine regprocedure;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR routine IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname ~ '^pg_(try_)?advisory_' OR proname ~ '^lo_'
               OR proname IN ('lowrite', 'loread', 'pg_logical_emit_message', 'pg_export_snapshot'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO trawl WITH GRANT OPTION', routine);
    END LOOP;
END
$$;

-- Nor do they in the databases that every cluster has. On a cluster that others use, leave this out, and let pg_hba.conf keep `reader`
-- out of the other databases.
DO $$
DECLARE
    other name;
BEGIN
    FOR other IN SELECT datname FROM pg_database WHERE datname IN ('postgres', 'template1') AND datname <> current_database() LOOP
        EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', other);
    END LOOP;
END
$$;
