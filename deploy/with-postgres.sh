#!/usr/bin/env bash
# with-postgres.sh [--durable] COMMAND...: runs COMMAND with DATABASE_URL naming an empty, throw-away Postgres, and
# removes that Postgres when COMMAND ends; exits with COMMAND's status. The binaries come from `make setup`.
# --durable: commits wait for the disk, as they do in earnest; for measurements.
set -euo pipefail

fsync=off
if [[ ${1:-} == --durable ]]; then
    fsync=on
    shift
fi
if (($# == 0)); then
    echo 'usage: with-postgres.sh [--durable] COMMAND...' >&2
    exit 2
fi

bin=${TRAWL_POSTGRES_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/trawl/postgres-18.6}/bin
if [[ ! -x $bin/initdb ]]; then
    echo "with-postgres: no Postgres in $bin; run make setup first, without DATABASE_URL" >&2
    exit 1
fi

# Under /tmp whatever TMPDIR says: the path of a Unix socket holds only 107 bytes.
dir=$(mktemp -d /tmp/trawl-postgres.XXXXXX)
as_owner=()
if [[ $(id -u) == 0 ]]; then
    # Postgres refuses root. The binaries may lie under root's home, closed to others: one capability opens it, and
    # that secure bit lets access(2), by which Postgres checks its programs, count the capability too.
    chown 65534:65534 "$dir"
    as_owner=(setpriv --reuid=65534 --regid=65534 --clear-groups --securebits=+no_setuid_fixup
        '--inh-caps=-all,+dac_override' '--ambient-caps=-all,+dac_override')
fi

postgres() { # PROGRAM ARGUMENT...
    local program=$1
    shift
    (cd "$dir" && "${as_owner[@]}" "$bin/$program" "$@")
}

stop() {
    local status=$?
    trap - EXIT INT TERM
    if [[ -f $dir/data/postmaster.pid ]]; then postgres pg_ctl -D "$dir/data" -m immediate -w stop >/dev/null || true; fi
    rm -rf -- "$dir"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

quietly() {
    "$@" >>"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
}
# A Unix socket alone: no port to choose, so none to lose to another process. Data that is thrown away needs no fsync,
# unless its price is what is asked for.
quietly postgres initdb --pgdata "$dir/data" --username postgres --auth trust --encoding UTF8 --locale C --no-sync
quietly postgres pg_ctl -D "$dir/data" -l "$dir/postgres.log" -w \
    -o "-c listen_addresses='' -c unix_socket_directories='$dir' -c fsync=$fsync" start

# For a COMMAND that stops it and starts it again.
printf '#!/usr/bin/env bash\ncd %q && exec %s %q -D %q "$@"\n' "$dir" "$(printf '%q ' env "${as_owner[@]}")" \
    "$bin/pg_ctl" "$dir/data" >"$dir/pg_ctl"
chmod +x "$dir/pg_ctl"
export TRAWL_POSTGRES_AT=$dir

export DATABASE_URL="postgres://postgres@localhost/postgres?host=$dir"
# Against a live database, queries are checked there and not in .sqlx.
export SQLX_OFFLINE=false
"$@"
