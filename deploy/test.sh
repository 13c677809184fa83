#!/usr/bin/env bash
# Runs every test of the workspace and closes with one line of totals; fails if a test failed or none ran.
# In the release profile, which the demo and CI share: the C++ half of torch-sys takes minutes for each profile.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT

# End-to-end tests run the binaries. In one selection with the tests, so that each dependency is built once.
"${CARGO:-cargo}" build --release --workspace --bins --tests

# Only standard output is looked at, so that cargo still sees its terminal on standard error.
status=0
"${CARGO:-cargo}" test --release --workspace --no-fail-fast "$@" | tee "$log" || status=$?

read -r passed failed ignored binaries_broken < <(awk '
    /^running [0-9]+ tests?$/ { started++ }
    /^test result: / {
        ended++
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) ignored += $(i - 1)
        }
    }
    END { print passed + 0, failed + 0, ignored + 0, started - ended }
' "$log")

echo
# A crash or an abort takes the binary down before its totals; it counts as one failure.
if ((binaries_broken > 0)); then
    echo "test binaries that ended before their totals: $binaries_broken"
    failed=$((failed + binaries_broken))
fi
if ((status != 0 && failed == 0)); then
    echo "cargo test ended with status $status before or beside the tests"
    failed=1
fi
if ((passed + failed == 0)); then
    echo 'no test ran'
    status=1
fi
totals="$passed passed, $failed failed"
if ((ignored > 0)); then totals+=", $ignored skipped"; fi
echo "$totals"
((status == 0 && failed == 0))
