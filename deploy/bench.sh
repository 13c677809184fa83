#!/usr/bin/env bash
# Runs the benchmarks, each of which prints a table with ratios to the references that it names, under a line that says on
# which machine and when. In the release profile and for the whole workspace, as the tests, so that they share their builds.
#
# Settings:
#   TRAWL_BENCH_PYTHON=PYTHON  a Python with PyTorch 2.11: one more reference for the training
#   TRAWL_BENCH_DEVICE=cuda:0  train there and not on the CPU
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bench() {
    "${CARGO:-cargo}" bench --locked --workspace --bench trainer --bench reports --bench search "$@"
}
bench --no-run

cpu=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
echo
echo "$(date -u +%F), ${cpu:-unknown CPU}, $(nproc) cores, training on ${TRAWL_BENCH_DEVICE:-the CPU}"
bench --quiet
