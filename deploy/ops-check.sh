#!/usr/bin/env bash
# Checks the files for operators: scripts by shellcheck, alert rules with their tests by promtool. Names a
# tool that cannot be had, and leaves its checks out.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# with TOOL WHAT COMMAND...: runs COMMAND with $tool set, unless the tool cannot be had.
with() {
    local name=$1 what=$2 status=0
    shift 2
    tool=$(deploy/ops-tools.sh "$name") || status=$?
    if ((status == 3)); then
        echo "skipped: $what: see above what is missing" >&2
        return
    fi
    ((status == 0)) || exit "$status"
    "$@"
}

check_scripts() {
    local scripts=(.ci/run deploy/*.sh deploy/*/*.sh deploy/slurm/*.sbatch)
    "$tool" "${scripts[@]}"
    echo "shellcheck: ${#scripts[@]} scripts"
}

check_rules() {
    "$tool" check rules deploy/prometheus/rules.yml
    # Paths in a file of tests start at the working directory of some versions, and at the file of others.
    (cd deploy/prometheus && "$tool" test rules rules_test.yml)
}

with shellcheck 'shell scripts were not checked' check_scripts
with promtool 'alert rules were not checked' check_rules
