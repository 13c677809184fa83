#!/usr/bin/env bash
# compose.sh: run by the entry point of Postgres's image under docker-compose.yml, once, for a new cluster that nobody outside reaches
# yet: makes the two users with the passwords of /run/trawl-postgres, and says who may log in. roles.sql comes after it.
set -euo pipefail

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set trawl_password `cat /run/trawl-postgres/trawl.password`
\set reader_password `cat /run/trawl-postgres/reader.password`
CREATE ROLE trawl LOGIN PASSWORD :'trawl_password';
CREATE ROLE reader LOGIN PASSWORD :'reader_password';
ALTER DATABASE :"DBNAME" OWNER TO trawl;
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL

# The superuser from within this container alone; from elsewhere two users, and one database.
cat >"$PGDATA/pg_hba.conf" <<'HBA'
local  all    postgres                 peer
host   trawl  trawl,reader  all        scram-sha-256
HBA
