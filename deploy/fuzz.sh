#!/usr/bin/env bash
# Sends requests that a seed makes up to every RPC of a coordinator, and prints what came of them under a line that says on which
# machine and when.
#
# Settings:
#   SEEDS=NUMBER  how many seeds (10), each against a coordinator and a database of its own
#   FROM=NUMBER   the first one (0)
#   CASES=NUMBER  requests of a seed (20000)
#   CASE=NUMBER   that one alone, of one seed
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzz() {
    "${CARGO:-cargo}" test --locked --release --workspace --test fuzz "$@"
}
fuzz --no-run

cpu=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
echo
echo "$(date -u +%F), ${cpu:-unknown CPU}, $(nproc) cores"
seeds=${SEEDS:-10}
if [[ -n ${CASE:-} ]]; then seeds=1; fi
export TRAWL_FUZZ_SEEDS=$seeds TRAWL_FUZZ_FROM=${FROM:-0} TRAWL_FUZZ_CASES=${CASES:-20000} TRAWL_FUZZ_CASE=${CASE:-}
fuzz --quiet -- --exact no_request_is_answered_by_a_mistake_of_trawl --nocapture
