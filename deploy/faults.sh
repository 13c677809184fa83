#!/usr/bin/env bash
# faults.sh: injects faults into real binaries on a real Postgres under load, and prints one table; exits non-zero if
# a study's rows differ from an undisturbed run's, a stale write was accepted, or a row is not as it expects.
# faults.sh soak: all kinds of faults in random order, seed by seed.
#
# Settings:
#   FAULTS=NAME,NAME    these rows alone
#   SEED=N              what everything random derives from; of a soak, the first seed
#   TRANSACTION_S=N     how long a user's transaction stays open (120)
#   SEEDS=N MINUTES=N   of a soak: it ends after so many seeds or minutes, whichever comes first (1,000 and 10)
#
# A row that needs a tool that is missing says so in the table.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export TRAWL_FAULTS_RUN=${1:-table}
"${CARGO:-cargo}" bench --locked --workspace --bench faults --no-run

cpu=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
echo
echo "$(date -u +%F), ${cpu:-unknown CPU}, $(nproc) cores"
exec "${CARGO:-cargo}" bench --quiet --offline --locked --workspace --bench faults
