-- What the coordinator's database needs of a superuser, once. Run it in that database, where these two roles exist:
--   trawl   owns the database; the coordinator connects as it. It is no superuser and makes no roles.
--   reader  logs in to read results, and can do nothing else.
ALTER ROLE trawl NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE reader NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 16;

-- The views are granted to this role.
CREATE ROLE trawl_reader NOLOGIN;
GRANT trawl_reader TO reader;

-- A member may end a role's sessions: the coordinator ends those of readers that hold a snapshot for too long. A reader can lift its
-- own statement_timeout, so a setting would not do.
GRANT reader TO trawl;

-- The role has the name of the schema of the views, which the default "$user", public would put first: tables made without a schema's
-- name, such as the migrations' own, would land there.
ALTER ROLE trawl SET search_path TO public;

-- Readers keep nothing: no temporary tables, no large objects. They hold no advisory locks, which coordinators use.
DO $$
DECLARE
    routine regprocedure;
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR routine IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname ~ '^pg_(try_)?advisory_' OR proname ~ '^lo_' OR proname IN ('lowrite', 'loread'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO trawl', routine);
    END LOOP;
END
$$;
