# The coordinator, and `trawl` beside it. From the root of the repository:
#   docker build -f deploy/coordinator.Dockerfile -t trawl/coordinator .
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS chef
RUN cargo install --locked --version 0.1.78 cargo-chef
WORKDIR /trawl

# Which dependencies there are: the same bytes as long as no manifest changes, whatever the sources do.
FROM chef AS recipe
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
ENV SQLX_OFFLINE=true
COPY --from=recipe /trawl/recipe.json .
RUN cargo chef cook --release --locked --package trawl-coordinator --package trawl-cli --recipe-path recipe.json
COPY . .
# Names of functions stay in the coordinator, for backtraces; line tables would double the binaries.
RUN cargo build --release --locked --package trawl-coordinator --package trawl-cli --bins \
    && strip --strip-debug target/release/trawl-coordinator && strip target/release/trawl

# The public authorities, for object stores: their bundle alone, without the package's tools.
FROM ${RUNTIME_IMAGE} AS authorities
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

FROM ${RUNTIME_IMAGE}
RUN groupadd --gid 10001 trawl \
    && useradd --uid 10001 --gid trawl --no-create-home --home-dir /var/lib/trawl --shell /usr/sbin/nologin trawl \
    && install --directory --owner trawl --group trawl /datasets /run/trawl /run/trawl-postgres /run/trawl-workers /var/lib/trawl/artifacts
COPY --from=build /trawl/target/release/trawl-coordinator /trawl/target/release/trawl /usr/local/bin/
COPY --from=authorities /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY deploy/first-start.sh /usr/local/bin/trawl-first-start
# A volume that is mounted there for the first time begins with these.
COPY --chown=trawl:trawl examples /datasets/examples

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="trawl coordinator" \
    org.opencontainers.image.description="Samples configurations, keeps studies in Postgres, leases jobs to workers" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

USER 10001:10001
WORKDIR /datasets
# Every address of the container: it refuses to start so without a token and TLS, or TRAWL_INSECURE=true.
ENV TRAWL_LISTEN=0.0.0.0:50051 \
    TRAWL_HTTP_LISTEN=0.0.0.0:8080 \
    TRAWL_DATASET_DIR=/datasets \
    TRAWL_ARTIFACTS=file:///var/lib/trawl/artifacts
EXPOSE 50051 8080
VOLUME ["/var/lib/trawl/artifacts", "/datasets"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["trawl", "health"]
ENTRYPOINT ["trawl-coordinator"]
