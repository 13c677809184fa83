# The worker: `--target cpu`, or `--target cuda`, which adds the CUDA half of libtorch. From the root of the repository:
#   docker build -f deploy/worker.Dockerfile --target cpu -t trawl/worker:cpu .
#   docker build -f deploy/worker.Dockerfile --target cuda -t trawl/worker:cuda .
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS chef
RUN cargo install --locked --version 0.1.78 cargo-chef
WORKDIR /trawl

FROM chef AS recipe
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# libtorch's headers and its CPU half, from wheels that pip compares with pinned hashes.
FROM chef AS libtorch
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/setup.sh deploy/
RUN XDG_CACHE_HOME=/opt deploy/setup.sh libtorch

FROM libtorch AS build
ENV LIBTORCH=/opt/trawl/libtorch-2.11.0-cpu
COPY --from=recipe /trawl/recipe.json .
RUN cargo chef cook --release --locked --package trawl-worker --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package trawl-worker --bins && strip --strip-debug target/release/trawl-worker

FROM ${RUNTIME_IMAGE} AS cpu
RUN groupadd --gid 10001 trawl \
    && useradd --uid 10001 --gid trawl --no-create-home --home-dir /var/cache/trawl --shell /usr/sbin/nologin trawl \
    && install --directory --owner trawl --group trawl /run/trawl-workers /var/cache/trawl /var/lib/trawl-devices
# Where the worker was built with it, which is where it looks.
COPY --from=build /opt/trawl/libtorch-2.11.0-cpu/lib /opt/trawl/libtorch-2.11.0-cpu/lib
COPY --from=build /trawl/target/release/trawl-worker /usr/local/bin/

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="trawl worker" \
    org.opencontainers.image.description="Leases jobs, trains them with libtorch and reports what came of them" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

USER 10001:10001
WORKDIR /var/cache/trawl
ENV TRAWL_CACHE_DIR=/var/cache/trawl \
    TRAWL_ALIVE_FILE=/tmp/trawl-worker.alive
VOLUME ["/var/cache/trawl"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["trawl-worker", "alive"]
ENTRYPOINT ["trawl-worker"]

# The CUDA half from the same wheel, and NVIDIA's libraries from theirs, of which only what is loaded at run time is kept. What
# the CPU half brought is the same file, and comes from there.
FROM libtorch AS cuda-libraries
COPY deploy/cuda-requirements.txt /tmp/
RUN python3 -m pip install --no-cache-dir --no-deps --no-compile --require-hashes --python-version 3.12 \
        --implementation cp --abi cp312 --abi none --only-binary=:all: --target /opt/cuda --requirement /tmp/cuda-requirements.txt \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
        --platform manylinux_2_18_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --platform manylinux_2_12_x86_64 --platform manylinux_2_5_x86_64 --platform manylinux1_x86_64 \
    && find /opt/cuda -mindepth 1 -maxdepth 1 ! -name torch ! -name nvidia -exec rm -rf {} + \
    && find /opt/cuda/torch -mindepth 1 -maxdepth 1 ! -name lib -exec rm -rf {} + \
    && find /opt/cuda -type f ! -name '*.so*' -delete \
    && find /opt/cuda -name 'libtorch_python*' -delete \
    && for library in libc10.so libtorch_cpu.so libgomp.so.1; do \
        ln -sf "/opt/trawl/libtorch-2.11.0-cpu/lib/$library" "/opt/cuda/torch/lib/$library"; \
    done

FROM cpu AS cuda
COPY --from=cuda-libraries /opt/cuda /opt/cuda
# What the NVIDIA runtime puts into the container: the driver's libraries for computing, and nvidia-smi.
ENV TRAWL_LIBTORCH_CUDA_DIR=/opt/cuda/torch/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
