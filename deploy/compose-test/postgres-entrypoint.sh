#!/usr/bin/env bash
# What the official image of Postgres does with its variables, as far as docker-compose.yml relies on it: as root it reads
# the password's file and takes the unprivileged user; an empty data folder gets a cluster with that user and database,
# reached by password over TCP and by anybody in the container over the socket.
set -euo pipefail

if [[ $(id -u) == 0 ]]; then
    POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
    export POSTGRES_PASSWORD
    install --directory --owner postgres --group postgres --mode 700 "$PGDATA"
    # Debian's own tool for it, as gosu is not among its smallest packages.
    exec setpriv --reuid postgres --regid postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") --auth-local trust --auth-host scram-sha-256 >/dev/null
    printf "host all all all scram-sha-256\n" >>"$PGDATA/pg_hba.conf"
    # Without TCP, as the official image's: nobody outside takes it for the real one.
    pg_ctl start --wait --silent --options "-c listen_addresses= -c unix_socket_directories=/var/run/postgresql"
    psql --username "$POSTGRES_USER" --dbname postgres --quiet --command "CREATE DATABASE $POSTGRES_DB"
    pg_ctl stop --wait --silent --mode fast
fi
unset POSTGRES_PASSWORD
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
