#!/usr/bin/env bash
# The whole way of docker-compose.yml on a real engine: makes the images, starts the stack, submits a study by grpcurl from
# outside, kills a worker and the coordinator meanwhile, asks Postgres for the best trials as a reader, and takes the stack down
# and up again. Closes with a table of times and sizes, and one line of totals. Skips, and says so, without an engine.
#
# Settings:
#   IMAGES=binaries          the last stages of the Dockerfiles around the binaries of target/release; the default, in a minute
#   IMAGES=dockerfiles       the whole Dockerfiles, which compile everything again
#   IMAGES=there             the images of the last run
#   TRAWL_STAND_INS=yes|no   base images made here instead of pulled; where left out: if none can be pulled
#   KEEP=1                   leave the stack running
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/trawl
grpcurl=$cache/tools/grpcurl
export COMPOSE_PROJECT_NAME=trawl-test-$$
# Whatever is in .env.
export COMPOSE_FILE=docker-compose.yml
# Beside whatever else runs here.
export TRAWL_PORT=$((20000 + $$ % 10000)) TRAWL_TLS_PORT=$((10000 + $$ % 10000)) TRAWL_HTTP_PORT=$((30000 + $$ % 10000)) TRAWL_POSTGRES_PORT=$((40000 + $$ % 10000))
export TRAWL_WORKERS=2 TRAWL_VERSION=compose-test
# The builder that every engine has; the Dockerfiles need nothing of BuildKit.
export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} COMPOSE_DOCKER_CLI_BUILD=0

skip() {
    echo "compose-test: SKIPPED: $*"
    exit 0
}
passed=0
check() { # WHAT COMMAND...: the command must succeed
    local what=$1
    shift
    if ! "$@"; then
        echo "compose-test: FAILED: $what" >&2
        exit 1
    fi
    echo "compose-test: ok: $what"
    passed=$((passed + 1))
}
table=()
measured() { table+=("$(printf '%-44s %s' "$1" "$2")"); }
timed() { # WHAT COMMAND...
    local what=$1 started=$SECONDS
    shift
    "$@"
    measured "$what" "$((SECONDS - started)) s"
}

command -v docker >/dev/null || skip 'there is no docker here'
docker info >/dev/null 2>&1 || skip 'no Docker engine answers'
[[ -x $grpcurl ]] || skip 'grpcurl is missing: run make setup (x86-64 alone)'
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    skip 'there is neither docker compose nor docker-compose'
fi
echo "compose-test: $(docker version --format 'engine {{.Server.Version}}'), $("${compose[@]}" version --short)"

# ---- the files -----------------------------------------------------------------------------------------------

config() { "${compose[@]}" "$@" config; }
has() { grep -qE -- "$2" <<<"$1"; }
lacks() { ! has "$@"; }
cpu=$(config)
gpu=$(config -f docker-compose.yml -f deploy/docker-compose.gpu.yml)
tls=$(TRAWL_TLS_DIR=/tls TRAWL_TLS_SERVER_NAME=box.example.org config -f docker-compose.yml -f deploy/docker-compose.tls.yml)
check 'the CPU stack trains on no GPU' lacks "$cpu" 'driver: nvidia|cuda'
check 'the GPU stack gives workers their devices' has "$gpu" 'driver: nvidia'
check 'the GPU stack builds the CUDA worker' has "$gpu" 'target: cuda'
check 'the TLS stack speaks nothing else' lacks "$tls" 'INSECURE: .?true|http://'
# The coordinator's image has two services: both at once cannot build it.
check 'every image is built once' test -z "$(grep -E '^ +dockerfile:' <<<"$cpu" | sort | uniq -d)"
published=$(grep -E '^ *- .*:(50051|8080|5432)(/tcp)?$' <<<"$cpu" || true)
if [[ -n $published ]]; then
    check 'ports are published on loopback alone' lacks "$(grep -v '127\.0\.0\.1:' <<<"$published" || true)" .
else
    check 'ports are published on loopback alone' test "$(grep -c 'host_ip: 127.0.0.1' <<<"$cpu")" = 3
fi
check 'no password stands in the file' lacks "$cpu" 'PASSWORD:|://[^ ]*:[^ ]*@'
if hadolint=$(deploy/ci-tools.sh hadolint); then
    check 'hadolint has nothing to say' "$hadolint/hadolint" deploy/*.Dockerfile
else
    echo 'compose-test: skipped: hadolint cannot be had here'
fi

# ---- the images ----------------------------------------------------------------------------------------------

images=${IMAGES:-binaries}
[[ $images =~ ^(binaries|dockerfiles|there)$ ]] || { echo "compose-test: IMAGES=$images is none of binaries, dockerfiles, there" >&2; exit 2; }
stand_ins=${TRAWL_STAND_INS:-}
if [[ -z $stand_ins ]]; then
    stand_ins=no
    docker image inspect debian:bookworm-slim >/dev/null 2>&1 || timeout 60 docker pull --quiet debian:bookworm-slim >/dev/null 2>&1 ||
        stand_ins=yes
fi
if [[ $stand_ins == yes ]]; then
    [[ $(id -u) == 0 ]] || skip 'no image can be pulled, and without root no stand-ins can be made'
    command -v debootstrap >/dev/null || skip 'no image can be pulled, and stand-ins need debootstrap: apt-get install debootstrap'
    bases=(debian:bookworm-slim postgres:18.6-bookworm)
    if [[ $images == dockerfiles ]]; then bases+=(rust:1.95.0-slim-bookworm); fi
    timed 'stand-ins of the base images' deploy/compose-test/stand-ins.sh "${bases[@]}"
    export TRAWL_RUST_IMAGE=trawl-stand-in/rust:1.95.0-slim-bookworm
    export TRAWL_RUNTIME_IMAGE=trawl-stand-in/debian:bookworm-slim
    export TRAWL_POSTGRES_IMAGE=trawl-stand-in/postgres:18.6-bookworm
fi
base=${TRAWL_RUNTIME_IMAGE:-debian:bookworm-slim}
coordinator=trawl/coordinator:$TRAWL_VERSION
worker=trawl/worker:$TRAWL_VERSION
log=$(mktemp)
quietly() { "$@" >"$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }; }
# assemble IMAGE DOCKERFILE TARGET: its last stages, with a stage `build` that holds what was built already.
assemble() {
    local context
    context=$(mktemp -d)
    mkdir -p "$context/trawl/target/release" "$context/opt/trawl/libtorch-2.11.0-cpu" "$context/deploy"
    cp target/release/trawl{,-coordinator,-worker} "$context/trawl/target/release/"
    # As the Dockerfiles do: the names of functions stay in the services alone, whose panics are reported.
    strip --strip-debug "$context"/trawl/target/release/trawl-{coordinator,worker}
    strip "$context/trawl/target/release/trawl"
    cp -a "${LIBTORCH:-$cache/libtorch-2.11.0-cpu}/lib" "$context/opt/trawl/libtorch-2.11.0-cpu/"
    cp -a deploy/. "$context/deploy/"
    cp -a examples "$context/"
    {
        # shellcheck disable=SC2016
        printf 'ARG RUNTIME_IMAGE\nFROM ${RUNTIME_IMAGE} AS build\nCOPY . /\n'
        awk '/^FROM \$\{RUNTIME_IMAGE\}/ { last = 1 } last' "$2"
    } >"$context/Dockerfile"
    # A worker that was built here looks for libtorch where it is here.
    docker build --target "$3" --tag "$1-plain" --build-arg "RUNTIME_IMAGE=$base" "$context" &&
        printf 'FROM %s-plain\nENV LD_LIBRARY_PATH=/opt/trawl/libtorch-2.11.0-cpu/lib\n' "$1" | docker build --tag "$1" -
    rm -rf -- "$context"
}
case $images in
    binaries)
        timed 'the image of the coordinator' quietly assemble "$coordinator" deploy/coordinator.Dockerfile ''
        timed 'the image of the worker for CPUs' quietly assemble "$worker" deploy/worker.Dockerfile cpu
        ;;
    dockerfiles)
        # The service that builds its image.
        timed 'build of the coordinator' quietly "${compose[@]}" build first-start
        timed 'build of the worker for CPUs' quietly "${compose[@]}" build worker
        ;;
esac

mb() { echo $(($(docker image inspect --format '{{.Size}}' "$1") / 1000000)); }
in_image() { docker run --rm --entrypoint sh "$1" -c "$2"; }
coordinator_mb=$(($(mb "$coordinator") - $(mb "$base"))) worker_mb=$(mb "$worker")
measured 'coordinator above its base' "$coordinator_mb MB"
measured 'worker for CPUs, with its base' "$worker_mb MB"
check 'the coordinator is under 60 MB above its base' test "$coordinator_mb" -lt 60
check 'the worker for CPUs is under 700 MB' test "$worker_mb" -lt 700
for image in "$coordinator" "$worker"; do
    check "$image runs as another user than root" test "$(in_image "$image" 'id -u')" = 10001
    # shellcheck disable=SC2016
    check "$image has neither a compiler nor Python" in_image "$image" \
        'for tool in cc gcc g++ c++ ld cargo rustc python3 pip; do if command -v $tool; then exit 1; fi; done'
done

# Without a stand-in's SSL_CERT_FILE. A coordinator that has authorities next misses a database.
s3_without_database() {
    docker run --rm --env TRAWL_INSECURE=true --env TRAWL_ARTIFACTS=s3://bucket/prefix --env DATABASE_URL=none \
        --env AWS_ACCESS_KEY_ID=key --env AWS_SECRET_ACCESS_KEY=secret --env AWS_REGION=eu-central-1 \
        --env AWS_ENDPOINT_URL=https://127.0.0.1:1 --entrypoint env "$coordinator" --unset SSL_CERT_FILE trawl-coordinator 2>&1 || true
}
check 'the coordinator has authorities for an object store' has "$(s3_without_database)" "the database's URL is no Postgres URL"

# ---- the stack -----------------------------------------------------------------------------------------------

finish() {
    local status=$?
    if [[ $status != 0 ]]; then "${compose[@]}" logs --tail 40 >&2 || true; fi
    if [[ -z ${KEEP:-} ]]; then "${compose[@]}" down --volumes --timeout 20 >/dev/null 2>&1 || true; fi
    rm -f -- "$log"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true SECONDS WHAT COMMAND...: asks again and again until it is true.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "compose-test: FAILED: waited in vain: $what" >&2
            exit 1
        fi
        sleep 0.2
    done
}
of_all() { "${compose[@]}" ps -q "${@:2}" | xargs docker inspect --format "$1"; }
container() { "${compose[@]}" ps -q "$1" | head -n 1; }
health() { docker inspect --format '{{.State.Health.Status}}' "$(container "$1")"; }
is_healthy() { [[ $(health "$1") == healthy ]]; }
up() {
    "${compose[@]}" up -d --no-build >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    until_true 120 'a healthy coordinator' is_healthy coordinator
    until_true 120 'a healthy worker' is_healthy worker
}
timed 'from nothing to a healthy stack' up

in_coordinator() { "${compose[@]}" exec -T coordinator "$@"; }
in_postgres() { "${compose[@]}" exec -T postgres "$@"; }
token=$(in_coordinator cat /run/trawl/operator.token)
call() { # METHOD [MESSAGE]: one answer as JSON
    "$grpcurl" -plaintext -H "authorization: Bearer $token" -d "${2:-@}" "127.0.0.1:$TRAWL_PORT" "trawl.v1.StudyService/$1"
}
sql() { in_postgres psql --no-psqlrc --tuples-only --no-align "$@"; }
# As it was printed, but from within the network of the containers.
reader_url() {
    "${compose[@]}" logs coordinator | grep -o 'postgres://reader:[^ ]*' | tail -n 1 | tr -d '\r'
}
as_reader() { sql "$(reader_url | sed "s/127\.0\.0\.1:$TRAWL_POSTGRES_PORT/127.0.0.1:5432/")" --command "$1"; }

without_token() { "$grpcurl" -plaintext "127.0.0.1:$TRAWL_PORT" trawl.v1.StudyService/ListStudies 2>&1 || true; }
check 'nothing is told without a token' has "$(without_token)" Unauthenticated
check 'health is told to everybody' test "$(in_coordinator env --unset TRAWL_TOKEN_FILE trawl health)" = serving
check 'the services can be listed' has "$("$grpcurl" -plaintext -H "authorization: Bearer $token" "127.0.0.1:$TRAWL_PORT" list)" trawl.v1.StudyService
check 'the web port answers on loopback' has "$(curl --silent "127.0.0.1:$TRAWL_HTTP_PORT/readyz")" ok

# ---- a study, and deaths ------------------------------------------------------------------------------------

study=regression-json
started=$SECONDS
check 'a study is submitted from outside' call CreateStudy <examples/regression.json
# Polled, because a killed coordinator ends every stream.
state() { call GetStudy "{\"study\": \"$study\"}" | sed -n 's/^ *"state": "\(.*\)".*/\1/p' | head -n 1; }
completed() { sql --dbname trawl --command "SELECT trials_completed FROM trawl.studies WHERE name = '$study'"; }
at_least() { [[ $(completed) -ge $1 ]]; }
# Like a crash: the engine restarts a container that nobody stopped.
crash() { kill -9 "$(docker inspect --format '{{.State.Pid}}' "$(container "$1")")"; }
until_true 300 'the first trials' at_least 1
check 'a worker dies' crash worker
until_true 300 'more trials' at_least 20
check 'the coordinator dies' crash coordinator
until_true 300 'the coordinator is back' is_healthy coordinator
is_over() { [[ $(state) =~ ^(completed|failed|cancelled)$ ]]; }
until_true 900 'the end of the study' is_over
measured 'the study, a killed worker and coordinator' "$((SECONDS - started)) s"
check 'the study is completed' test "$(state)" = completed
for service in worker coordinator; do
    check "the $service was started again" test "$(of_all '{{.RestartCount}}' "$service" | sort -n | tail -n 1)" -ge 1
done

best() { as_reader "SELECT trial, value, params FROM trawl.best_trials WHERE study = '$study' AND rank <= 5"; }
echo; best; echo
before=$(best)
check 'a reader sees the best trials' test "$(wc -l <<<"$before")" = 5
check 'every trial has ended' test "$(as_reader "SELECT count(*) FROM trawl.trials WHERE study = '$study' AND state IN ('completed', 'failed')")" = 300
check 'grpcurl shows the same best trial' test \
    "$(call ListBestTrials "{\"study\": \"$study\", \"limit\": 1}" | sed -n 's/^ *"trial": \([0-9]*\).*/\1/p' | head -n 1)" = "$(head -n 1 <<<"$before" | cut -d '|' -f 1)"
check 'trawl in the container shows it, too' has "$(in_coordinator trawl best "$study" -n 1 --csv)" "$(head -n 1 <<<"$before" | cut -d '|' -f 1)"
writes() { as_reader 'CREATE TABLE mine (id int)' 2>&1 || true; }
check 'a reader writes nothing' has "$(writes)" 'read-only transaction|permission denied'
check 'a reader sees no other schema' has "$(as_reader 'SELECT count(*) FROM trawl_store.tokens' 2>&1 || true)" 'permission denied'
for service in coordinator worker postgres; do
    check "$service cannot write its own files" test "$("${compose[@]}" exec -T "$service" sh -c 'touch /usr/local/bin/mine 2>/dev/null || echo refused')" = refused
done
passwords=$(in_postgres sh -c 'cat /run/trawl-postgres/trawl.password; echo; cat /run/trawl-postgres/superuser.password')
check 'no secret is in a command line or in what docker inspect shows' lacks "$(of_all '{{json .}}')" "$token|${passwords//$'\n'/|}"

# ---- who may do what ----------------------------------------------------------------------------------------

# As the coordinator: by its URL, over the network.
coordinator_url=$(in_coordinator cat /run/trawl/database.url)
as_coordinator() { sql "$coordinator_url" --command "$1" 2>&1 || true; }
check 'the coordinator owns its database' test "$(as_coordinator 'SELECT current_user, pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()')" = 'trawl|trawl'
check 'the coordinator runs no program by Postgres' has "$(as_coordinator "COPY (SELECT 1) TO PROGRAM 'true'")" 'permission denied'
check 'the coordinator reads no file by Postgres' has "$(as_coordinator "SELECT pg_read_file('PG_VERSION')")" 'permission denied'
check 'the coordinator makes no roles' has "$(as_coordinator 'CREATE ROLE another')" 'permission denied'
check 'the reader runs no program by Postgres' has "$(as_reader "COPY (SELECT 1) TO PROGRAM 'true'" 2>&1 || true)" 'permission denied'
check 'the reader holds no advisory lock' has "$(as_reader 'SELECT pg_advisory_lock(1)' 2>&1 || true)" 'permission denied'
check 'neither of them is a superuser' test "$(sql --dbname trawl --command "SELECT count(*) FROM pg_roles WHERE rolname IN ('trawl', 'reader') AND NOT rolsuper")" = 2
by_network() { sql "postgres://$1:${passwords##*$'\n'}@postgres/$2" --command 'SELECT 1' 2>&1 || true; }
check 'the superuser does not log in by the network' has "$(by_network postgres trawl)" 'no pg_hba.conf entry'
check 'the superuser has no password' test "$(sql --dbname trawl --command "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'")" = t
check 'the reader comes into no other database' has "$(by_network reader postgres)" 'no pg_hba.conf entry'
check "Postgres's container has no token" test -z "$(in_postgres find / -name proc -prune -o -name '*.token' -print 2>/dev/null; in_postgres sh -c 'ls /run/trawl /run/trawl-workers 2>/dev/null')"
check "the coordinator's container has no password of Postgres's own" test "$(in_coordinator sh -c 'ls /run/trawl-postgres 2>/dev/null')" = ''
check "a worker's container has its token alone" test "$("${compose[@]}" exec -T worker sh -c 'ls /run/trawl /run/trawl-workers 2>/dev/null' | grep -vE '^(/.*)?$')" = worker.token
check 'every container has a limit of memory' lacks "$(of_all '{{.HostConfig.Memory}}')" '^0$'
check 'no container gains privileges' test "$(of_all '{{.HostConfig.SecurityOpt}} {{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.ReadonlyRootfs}}' | sort -u)" = '[no-new-privileges:true] [ALL] [] true'

# ---- down and up --------------------------------------------------------------------------------------------

timed 'down' "${compose[@]}" down --timeout 30 >"$log" 2>&1
timed 'up again' up
check 'after down and up the best trials are there' test "$(best)" = "$before"
check 'the token is the same' test "$(in_coordinator cat /run/trawl/operator.token)" = "$token"
check 'the weights of the refit are there' in_coordinator trawl artifacts "$study" --refit 0 --name weights.safetensors -o /tmp/weights

# ---- backup and restore, by the commands of deploy/README.md -------------------------------------------------

folder=$(mktemp -d)
# commands HEADING N: the N-th block of commands below a heading.
commands() {
    awk -v heading="## $1" -v wanted="$2" '
        $0 == heading { inside = 1; next }
        inside && /^## / { exit }
        inside && /^```sh$/ { block++; next }
        /^```$/ { if (inside && block == wanted) exit; next }
        inside && block == wanted' deploy/README.md
}
# In a folder of their own, for their files; by whatever Compose there is.
follow() {
    local text
    text=$(commands "$@" | sed "s#docker compose#${compose[*]} --project-directory $PWD --file $PWD/docker-compose.yml#")
    if [[ -z $text ]] || ! (cd "$folder" && bash -euo pipefail -c "$text") >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
}
back_up() { follow 'Backup and restore' 1; }
restore() {
    follow 'Backup and restore' 2
    until_true 120 'a healthy coordinator' is_healthy coordinator
}
timed 'backup' back_up
check 'the backup holds something' test -s "$folder/trawl.dump" -a -s "$folder/artifacts.tar"
"${compose[@]}" down --volumes --timeout 30 >"$log" 2>&1
timed 'restore' restore
check 'after a restore the best trials are there' test "$(best)" = "$before"
check 'after a restore the token is another one' test "$(in_coordinator cat /run/trawl/operator.token)" != "$token"
check 'after a restore the weights are there' in_coordinator trawl artifacts "$study" --refit 0 --name weights.safetensors -o /tmp/weights

# ---- TLS ----------------------------------------------------------------------------------------------------

name=box.example.org
certificates() {
    local new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    (
        cd "$folder"
        "${new[@]}" -x509 -days 2 -subj '/CN=authority' -keyout ca.key -out ca.crt
        "${new[@]}" -subj "/CN=$name" -keyout tls.key -out tls.csr
        printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$name" >extensions
        openssl x509 -req -days 2 -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out tls.crt
        chmod 755 .
        chmod 644 tls.key
    ) >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}
if command -v openssl >/dev/null; then
    check 'certificates are made' certificates
    # All workers say goodbye: those that are online later came by TLS.
    "${compose[@]}" down --timeout 30 >"$log" 2>&1
    export TRAWL_TLS_DIR=$folder TRAWL_TLS_SERVER_NAME=$name
    compose+=(-f docker-compose.yml -f deploy/docker-compose.tls.yml)
    timed 'up with TLS' up
    by_tls() { has "$(in_coordinator trawl workers --csv)" online; }
    until_true 60 'a worker that comes by TLS' by_tls
    token=$(in_coordinator cat /run/trawl/operator.token)
    outside() { "$grpcurl" "$@" -H "authorization: Bearer $token" "127.0.0.1:$TRAWL_TLS_PORT" list; }
    check 'whoever knows the authority is answered from outside' has "$(outside -cacert "$folder/ca.crt" -authority "$name")" trawl.v1.StudyService
    check 'nobody is answered in the clear' lacks "$(outside -plaintext -max-time 5 2>&1 || true)" trawl.v1.StudyService
else
    echo 'compose-test: skipped: without openssl there are no certificates for TLS'
fi
rm -rf -- "$folder"

echo
printf '%s\n' "$(date -u +%F), $(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1), $(nproc) cores" "${table[@]}"
echo
echo "compose-test: $passed passed, 0 failed"
