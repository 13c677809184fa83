#!/usr/bin/env bash
# sqlx.sh (prepare|check): writes the query metadata in .sqlx, or says whether it is up to date, against the database
# of DATABASE_URL, which must be empty or migrated: with-postgres.sh provides one.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
    prepare) mode=() ;;
    check) mode=(--check) ;;
    *)
        echo 'usage: sqlx.sh (prepare|check)' >&2
        exit 2
        ;;
esac
if [[ -z ${DATABASE_URL:-} ]]; then
    echo "sqlx: DATABASE_URL is not set; use: deploy/with-postgres.sh deploy/sqlx.sh $1" >&2
    exit 1
fi

tools=$(deploy/ci-tools.sh sqlx-cli)
export PATH=$tools:$PATH
cargo sqlx migrate run --source migrations
# The profile and the targets of clippy, so that no dependency is checked twice.
cargo sqlx prepare --workspace "${mode[@]}" -- --release --workspace --all-targets
