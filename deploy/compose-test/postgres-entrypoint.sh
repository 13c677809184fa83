#!/usr/bin/env bash
# What the official image of Postgres does with its variables, as far as docker-compose.yml relies on it: an empty data folder gets
# a cluster with that user and database, reached by password over TCP and by anybody in the container over the socket; then
# /docker-entrypoint-initdb.d is gone through, before anybody outside is answered.
set -euo pipefail

: "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then
    POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
    unset POSTGRES_PASSWORD_FILE
fi
export POSTGRES_USER POSTGRES_DB POSTGRES_PASSWORD

if [[ $(id -u) == 0 ]]; then
    install --directory --owner postgres --group postgres --mode 700 "$PGDATA"
    # Debian's own tool for it, as gosu is not among its smallest packages.
    exec setpriv --reuid postgres --regid postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi
mkdir -p "$PGDATA"
chmod 700 "$PGDATA"

sql() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --no-password --username "$POSTGRES_USER" "$@"; }

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") --auth-local trust --auth-host scram-sha-256 >/dev/null
    printf "host all all all scram-sha-256\n" >>"$PGDATA/pg_hba.conf"
    # Without TCP, as the official image's: nobody outside takes it for the real one.
    pg_ctl start --wait --silent --options "-c listen_addresses= -c unix_socket_directories=/var/run/postgresql"
    [[ $POSTGRES_DB == postgres ]] || sql --dbname postgres --command "CREATE DATABASE $POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                if [[ -x $file ]]; then
                    "$file"
                else
                    # shellcheck disable=SC1090
                    source "$file"
                fi
                ;;
            *.sql) sql --dbname "$POSTGRES_DB" --file "$file" ;;
        esac
    done
    pg_ctl stop --wait --silent --mode fast
fi
unset POSTGRES_PASSWORD
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
