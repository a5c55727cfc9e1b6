# An image in which `mnbed run` works as it stands:
#   docker build -t mnbed .
#   docker run --rm --privileged mnbed run quickstart
# docs/container.md: how to keep the results, and what to allow instead of --privileged.
ARG BASE=debian:12-slim

# The source as it is in the checkout, with its revision in place of .git.
# hadolint ignore=DL3006
FROM ${BASE} AS source
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY . /opt/mnbed
WORKDIR /opt/mnbed
# Without git's folder, as in an unpacked archive, the revision stays as the archive has it.
RUN revision=$(git -c safe.directory=/opt/mnbed describe --always --match= --dirty=+ --abbrev=12) \
    && echo "$revision" > mnbed/revision.txt; rm -rf .git

# hadolint ignore=DL3006
FROM ${BASE}
# --dev: also the test tools; --newest: not the versions of the lock.
ARG INSTALL_OPTIONS=""
COPY --from=source /opt/mnbed /opt/mnbed
# hadolint ignore=SC2086
RUN PIP_NO_CACHE_DIR=1 /opt/mnbed/install.sh ${INSTALL_OPTIONS} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
    && mkdir -m 1777 /data /work

# Users of any number may keep data sets and measurements here; they have no home.
ENV MNBED_DATA=/data MNBED_CACHE=/data HOME=/data
WORKDIR /work
HEALTHCHECK --interval=5m --timeout=1m --start-period=5s CMD ["mnbed", "doctor"]
ENTRYPOINT ["mnbed"]
CMD ["doctor"]
