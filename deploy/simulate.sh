#!/usr/bin/env bash
# Runs the simulation of the workers' protocol, seed by seed, and prints what came of it under a line that says on which machine
# and when. In the profile of benchmarks: the simulation itself is what computes here.
#
# Settings:
#   SEEDS=NUMBER  how many seeds (500)
#   FROM=NUMBER   the first one (0)
#   LOG=1         with the history of each run, on standard error
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
simulation() {
    "${CARGO:-cargo}" test --locked --profile bench --workspace --test simulation "$@"
}
simulation --no-run

cpu=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
echo
echo "$(date -u +%F), ${cpu:-unknown CPU}, $(nproc) cores, one of them used"
export TRAWL_SIMULATION_SEEDS=${SEEDS:-500} TRAWL_SIMULATION_FROM=${FROM:-0} TRAWL_SIMULATION_LOG=${LOG:-0}
simulation --quiet -- --exact seeds_keep_the_promises --nocapture
