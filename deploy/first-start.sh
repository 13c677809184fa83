#!/bin/sh
# first-start.sh: makes the secrets of a deployment by docker compose, each once and at random, and the URLs that hold them.
# What is there stays as it is. In a volume that Postgres and the coordinator see: the operator's token, the passwords of the
# two users of the database, and their URLs; in one of the workers' own: their token.
set -eu
umask 077

secrets=/run/trawl
workers=/run/trawl-workers

# write FILE: standard input, whole or not at all.
write() {
    cat >"$1.part"
    mv "$1.part" "$1"
}

for file in "$secrets/operator.token" "$secrets/database.password" "$secrets/reader.password" "$workers/worker.token"; do
    if [ -s "$file" ]; then continue; fi
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | write "$file"
done

# The port may be another one at the next start.
printf 'postgres://trawl:%s@postgres:5432/trawl\n' "$(cat "$secrets/database.password")" | write "$secrets/database.url"
printf 'postgres://reader:%s@127.0.0.1:%s/trawl\n' "$(cat "$secrets/reader.password")" "$TRAWL_POSTGRES_PORT" | write "$secrets/reader.url"
