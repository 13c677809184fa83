#!/usr/bin/env bash
# stand-ins.sh IMAGE...: makes stand-ins for base images of the Dockerfiles and of docker-compose.yml, for a machine whose engine
# reaches no registry: Debian from its packages, Rust from this machine's toolchain, Postgres from what make setup fetched. Prints
# nothing but progress; keeps an image that is there and up to date. Needs root and debootstrap.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/trawl
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

is_there() { docker image inspect "$1" >/dev/null 2>&1; }

say() { printf 'stand-ins: %s\n' "$*"; }

# The authorities that this machine trusts: packages may reach it through one that Debian does not know.
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

debian() {
    debootstrap --variant=minbase bookworm "$work/root" >"$work/log" 2>&1 || { tail -n 20 "$work/log"; exit 1; }
    rm -rf -- "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    # Not where the package ca-certificates would write: it may be installed later.
    install -D --mode 644 "$authorities" "$work/root/usr/local/share/stand-in/authorities.pem"
    tar -C "$work/root" -c . | docker import \
        -c 'ENV SSL_CERT_FILE=/usr/local/share/stand-in/authorities.pem PIP_CERT=/usr/local/share/stand-in/authorities.pem CARGO_HTTP_CAINFO=/usr/local/share/stand-in/authorities.pem' \
        -c 'CMD ["bash"]' - "$1" >/dev/null
}

rust() {
    local sysroot
    sysroot=$(rustc --print sysroot)
    mkdir "$work/rust"
    cp -a "$sysroot/bin" "$sysroot/lib" "$work/rust/"
    cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM trawl-stand-in/debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY rust /usr/local
DOCKERFILE
    rm -rf -- "$work/root"
    docker build --quiet --tag "$1" "$work" >/dev/null
}

# With the entry point that the official image has, as far as docker-compose.yml relies on it.
postgres() {
    local tree=$work/postgres
    rm -rf -- "$work"/rust
    mkdir "$tree"
    cp -a "$cache/postgres-18.6/." "$tree/"
    cp postgres-entrypoint.sh "$work/"
    cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM trawl-stand-in/debian:bookworm-slim
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid postgres --home-dir /var/lib/postgresql postgres \
    && install --directory --owner postgres --group postgres /var/lib/postgresql \
    && install --directory --owner postgres --group postgres --mode 3777 /var/run/postgresql
COPY postgres /opt/postgres
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
# Where the official image has its socket; these programs were built for another place.
ENV PATH=/opt/postgres/bin:$PATH PGDATA=/var/lib/postgresql/18/docker PGHOST=/var/run/postgresql
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
DOCKERFILE
    docker build --quiet --tag "$1" "$work" >/dev/null
}

# Debian first: the others are made on it.
for base in "$@"; do
    image=trawl-stand-in/$base
    # Postgres has an entry point of ours, which may have changed: the engine's build cache knows.
    if [[ $base != postgres:* ]] && is_there "$image"; then continue; fi
    started=$SECONDS
    "${base%%:*}" "$image"
    say "$image made in $((SECONDS - started)) s"
done
