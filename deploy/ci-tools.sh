#!/usr/bin/env bash
# ci-tools.sh [sqlx-cli] [cargo-deny]: installs these cargo subcommands, pinned, into the cache of make setup (once),
# and prints the folder of their binaries. Kept out of make setup: they take minutes to build and no user needs them.
set -euo pipefail

root=${XDG_CACHE_HOME:-$HOME/.cache}/trawl/ci-tools

install() { # CRATE VERSION BINARY FEATURES...
    local crate=$1 version=$2 binary=$3
    shift 3
    if [[ -x $root/bin/$binary && -f $root/$crate-$version ]]; then return; fi
    echo "ci-tools: building $crate $version" >&2
    rm -f -- "$root/$crate"-*
    cargo install --quiet --locked --root "$root" --version "=$version" "$@" "$crate" >&2
    # cargo install puts the binary there whole or not at all; the mark adds which version it was.
    touch "$root/$crate-$version"
}

for tool in "$@"; do
    case $tool in
        sqlx-cli) install sqlx-cli 0.9.0 cargo-sqlx --no-default-features --features postgres,rustls ;;
        cargo-deny) install cargo-deny 0.20.2 cargo-deny ;;
        *)
            echo "ci-tools: unknown tool $tool" >&2
            exit 2
            ;;
    esac
done
printf '%s\n' "$root/bin"
