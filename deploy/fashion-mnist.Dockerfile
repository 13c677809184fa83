# FashionMNIST, to be copied into the volume of datasets: docker compose run --rm fashion-mnist
ARG RUNTIME_IMAGE=debian:bookworm-slim
FROM ${RUNTIME_IMAGE}
WORKDIR /trawl
COPY deploy/setup.sh deploy/
# Compared with the hashes of its files. A volume that is mounted at /datasets for the first time begins as that folder, which is as
# the coordinator's: either may come first.
RUN XDG_CACHE_HOME=/opt deploy/setup.sh fashion-mnist && install --directory --owner 10001 --group 10001 /datasets
COPY --chown=10001:10001 examples /datasets/examples
USER 10001:10001
CMD ["cp", "--recursive", "--no-target-directory", "/opt/trawl/fashion-mnist", "/datasets/fashion-mnist"]
