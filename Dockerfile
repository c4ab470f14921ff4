# IC WebSocket Gateway. Takes the Rust gateway's arguments:
#   docker run -p 8080:8080 -v icws-data:/ic-ws-gateway/data IMAGE --ic-network-url http://host.docker.internal:4943
# By digest, so that the same commit makes the same image; docs/release.md says when it is renewed (docker buildx
# imagetools inspect python:3.12-slim). Another one: --build-arg BASE=python:3.13-slim
ARG BASE=python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

FROM ${BASE} AS build
RUN python -m venv /opt/icws && python -m venv /opt/build
WORKDIR /source
# The dependencies change less often than the code, so they have a layer of their own. Each has its version and hashes.
COPY requirements ./requirements
RUN /opt/icws/bin/pip install --no-cache-dir --require-hashes -r requirements/image.txt \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY . .
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/icws/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    # What the image is made of, in CycloneDX's form.
    && /opt/build/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
        --output-file /opt/icws/share/icwsgw.cdx.json /opt/icws \
    # twistd keeps a list of its plugins beside them, where the gateway's user may not write.
    && /opt/icws/bin/twistd --help > /dev/null

FROM ${BASE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="IC WebSocket Gateway" \
    org.opencontainers.image.description="Gives canisters of the Internet Computer WebSockets" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/icws/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The Rust gateway's working directory, so that volumes and paths of its compose files fit. A directory mounted from the
# host must belong to user 10001: the key is made in it.
WORKDIR /ic-ws-gateway
COPY --from=build /opt/icws /opt/icws
RUN groupadd --gid 10001 icws \
    && useradd --uid 10001 --gid icws --no-create-home --home-dir /ic-ws-gateway --shell /usr/sbin/nologin icws \
    && install --directory --owner icws --group icws --mode 0700 data
USER icws
VOLUME /ic-ws-gateway/data
EXPOSE 8080 9090
# Inside a container, loopback is reachable from nowhere else: who publishes the port decides.
ENV ICWS_PROMETHEUS_ENDPOINT=tcp:9090
# One of these has to answer: ours, and where the Rust gateway has its metrics. Set it for other addresses of
# --prometheus-endpoint.
ENV ICWS_HEALTH_URL="http://127.0.0.1:9090/health/live http://127.0.0.1:9000/health/live"
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD python -m icwsgw.process.healthcheck $ICWS_HEALTH_URL
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "icws"]
