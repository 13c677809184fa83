#!/usr/bin/env bash
# The main job from an empty database to its result: `trawl up` in the background, the regression study
# submitted and watched, its best trials and its refit shown. Ends everything it started, however it ends.
#
# Settings:
#   TRAWL_DEMO_DIR=DIR  where the database and the artifacts go (default .demo); removed first
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
trawl=target/release/trawl
# Made anew, as a study's name is taken for good in one database.
dir=${TRAWL_DEMO_DIR:-.demo}
log=${dir%/}.log
ready_seconds_max=120

# A variable may name the folder: remove only one beside which an earlier demo left its log.
if [[ $dir != .demo && -e $dir && ! -e $log ]]; then
    echo "demo: $dir exists and was not made by the demo; set TRAWL_DEMO_DIR to another folder" >&2
    exit 1
fi
rm -rf -- "$dir"
mkdir -p -- "$dir"

up=
stop() {
    local status=$? up_status=0
    trap - EXIT INT TERM
    if [[ -n $up ]]; then
        kill -INT "$up" 2>/dev/null || true
        wait "$up" || up_status=$?
        if [[ $status == 0 && $up_status != 0 ]]; then
            echo "demo: trawl up ended with status $up_status; its last lines of $log:" >&2
            tail -n 20 -- "$log" >&2
            status=$up_status
        fi
    fi
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Job control gives it a process group of its own and SIGINT's default action: without it, bash starts
# background commands with SIGINT ignored, and Ctrl-C would reach it before this script has.
set -m
"$trawl" up --workers "$(nproc)" --data-dir "$dir" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >"$log" 2>&1 &
up=$!
set +m

give_up() {
    echo "demo: $1; the last lines of $log:" >&2
    tail -n 20 -- "$log" >&2
    exit 1
}

endpoints=$dir/endpoints.json
deadline=$((SECONDS + ready_seconds_max))
until [[ -e $endpoints ]]; do
    kill -0 "$up" 2>/dev/null || give_up 'trawl up ended before it was ready'
    ((SECONDS < deadline)) || give_up "trawl up was not ready after $ready_seconds_max s"
    sleep 0.2
done

endpoint() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$endpoints" "$1"
}
server=$(endpoint grpc)
echo "demo: trawl is up: gRPC $server, web $(endpoint http), database $(endpoint database_url)"

"$trawl" --server "$server" submit examples/regression.yaml --watch
echo
"$trawl" --server "$server" best regression -n 5
echo
"$trawl" --server "$server" show regression
echo
"$trawl" --server "$server" report regression -o "$dir/report.html"

cat <<TEXT

The report opens in any browser. To look further, start it again and ask it from a second shell (the first prints the addresses):
  $trawl up --data-dir $dir
  $trawl curves regression 1
  SELECT trial, value, params FROM trawl.best_trials WHERE study = 'regression' AND rank <= 5;
TEXT
