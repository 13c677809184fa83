#!/bin/sh
# first-start.sh: makes the secrets of a deployment by docker compose, each once and at random, and the URLs that hold them.
# Existing secrets stay. Three volumes, so that each program sees its own secrets alone: the coordinator the operator's token and
# the URLs of the database; Postgres the passwords of its users; the workers their token.
set -eu
umask 077

coordinator=/run/trawl
postgres=/run/trawl-postgres
workers=/run/trawl-workers

# write FILE: standard input, whole or not at all. What is for Postgres belongs to the group that its image runs as.
write() {
    cat >"$1.part"
    case $1 in
    "$postgres"/*)
        chgrp 999 "$1.part"
        chmod 640 "$1.part"
        ;;
    esac
    mv "$1.part" "$1"
}

for file in "$coordinator/operator.token" "$workers/worker.token" \
    "$postgres/superuser.password" "$postgres/trawl.password" "$postgres/reader.password"; do
    if [ -s "$file" ]; then continue; fi
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | write "$file"
done

# The port may be another one at the next start.
printf 'postgres://trawl:%s@postgres:5432/trawl\n' "$(cat "$postgres/trawl.password")" | write "$coordinator/database.url"
printf 'postgres://reader:%s@127.0.0.1:%s/trawl\n' "$(cat "$postgres/reader.password")" "$TRAWL_POSTGRES_PORT" | write "$coordinator/reader.url"
