# FashionMNIST, to be copied into the volume of datasets: docker compose run --rm fashion-mnist
ARG RUNTIME_IMAGE=debian:bookworm-slim
FROM ${RUNTIME_IMAGE}
WORKDIR /trawl
COPY deploy/setup.sh deploy/
# Compared with the hashes of its files.
RUN XDG_CACHE_HOME=/opt deploy/setup.sh fashion-mnist
USER 10001:10001
CMD ["cp", "--recursive", "--no-target-directory", "/opt/trawl/fashion-mnist", "/datasets/fashion-mnist"]
