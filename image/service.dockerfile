# The service's image. `bentoml build` copies this file into the bento, whose folder is what COPY sees; it is a template
# to BentoML, but asks nothing of it, so that any other builder takes it as it is.

ARG BASE=debian:12-slim

# ------------------------------------------------------------------------------------------------ what is made
FROM ${BASE} AS build

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends binutils python3-venv

# For networks that reach no public index: given at the build, and in no layer of what is shipped.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT

# Packages get an environment without pip: nothing can be installed into the image afterwards.
RUN python3 -m venv /tmp/installer && python3 -m venv --without-pip /opt/venv
COPY src/requirements/service.txt /tmp/requirements.txt
RUN /tmp/installer/bin/pip --python /opt/venv/bin/python install --quiet --disable-pip-version-check --no-cache-dir \
        --no-compile --only-binary :all: --require-hashes --requirement /tmp/requirements.txt
COPY src/image/trim.py /tmp/trim.py
# Debug symbols are a third of the compiled modules. Wheels' own copies of libraries (*.libs) are best left as they are:
# a tool has rewritten them, and they carry hardly any.
RUN python3 /tmp/trim.py /opt/venv/lib/python3*/site-packages \
    && find /opt/venv -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +

COPY src/greentext /srv/greentext/greentext
COPY src/service /srv/greentext/service
COPY src/models /srv/greentext/models
COPY src/LICENSE /srv/greentext/LICENSE
# Nobody can write bytecode later. It is not compared with its source, which nobody changes.
RUN /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /srv/greentext
# Packages from the lock, and all that trim.py left of them: whatever is missing is missed here.
RUN cd /srv/greentext && BENTOML_HOME=/tmp/bentoml BENTOML_DO_NOT_TRACK=True \
        /opt/venv/bin/python -B -c "import service.service"

# ------------------------------------------------------------------------------------------------ what is shipped
FROM ${BASE}

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
    && groupadd --system --gid 10001 greentext \
    && useradd --system --uid 10001 --gid greentext --home-dir /tmp --no-create-home --shell /usr/sbin/nologin greentext

# Belongs to root: whoever takes over the service cannot change it.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/greentext /srv/greentext
# What is in this image, Debian's packages and the model too.
COPY src/image/sbom.py /tmp/sbom.py
RUN /opt/venv/bin/python -B /tmp/sbom.py --project /srv/greentext --dpkg /var/lib/dpkg/status \
        --output /srv/greentext/sbom.cdx.json \
    && rm /tmp/sbom.py

# k8s/base says the same. A volume mounted at the data folder, writable by 10001, keeps what is written and rated.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_CONTAINERIZED=True \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    GREENTEXT_DATA_DIR=/var/lib/greentext

LABEL org.opencontainers.image.title="Wholesome Greentext" \
      org.opencontainers.image.description="Writes wholesome greentexts on a CPU" \
      org.opencontainers.image.licenses="MIT"

WORKDIR /srv/greentext
USER 10001:10001
EXPOSE 3000
CMD ["bentoml", "serve", "service.service:GreentextService", "--host", "0.0.0.0", "--port", "3000"]
