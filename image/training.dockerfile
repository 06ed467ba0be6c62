# What the Jobs in k8s/jobs run: training and the stages that make datasets. Built from the repository's root:
#
#   docker build --file image/training.dockerfile --tag wholesome-greentext-training:VERSION .
#
# No bento: a bento is a service with its API, and here nothing is served; BentoML would have to be in it to say so.
# torch is whatever the index gives by default, with CUDA where that is so; for a CPU build name an index or a folder:
#   --build-arg PIP_EXTRA_INDEX_URL=... or --build-arg PIP_FIND_LINKS=...

ARG BASE=debian:12-slim

# ------------------------------------------------------------------------------------------------ what is made
FROM ${BASE} AS build

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /build
RUN python3 -m venv /tmp/installer && python3 -m venv --without-pip /opt/venv
# What pyproject.toml asks for in the versions that the tests ran with; made anew only when one of these two changes.
# pip compiles bytecode, since nobody can later, and puts up with the files in torch that are for a newer Python.
COPY pyproject.toml requirements/dev.txt ./
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; \
print(*p["dependencies"], *e["data"], *e["training"], sep="\n")' > requirements.txt \
    && /tmp/installer/bin/pip --python /opt/venv/bin/python install --quiet --only-binary :all: \
        --constraint dev.txt --requirement requirements.txt \
    && /tmp/installer/bin/pip install --quiet --constraint dev.txt hatchling
COPY README.md LICENSE ./
COPY greentext greentext
COPY service service
COPY data_pipeline data_pipeline
COPY training training
RUN /tmp/installer/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
    && /tmp/installer/bin/pip --python /opt/venv/bin/python install --quiet --no-deps /tmp/wheels/*.whl
RUN cd / && /opt/venv/bin/gtx-data --help >/dev/null && /opt/venv/bin/gtx-train recipes >/dev/null \
    && HOME=/tmp /opt/venv/bin/accelerate launch --help >/dev/null

# ------------------------------------------------------------------------------------------------ what is shipped
FROM ${BASE}

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 tesseract-ocr \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
    && groupadd --system --gid 10001 greentext \
    && useradd --system --uid 10001 --gid greentext --home-dir /tmp --no-create-home --shell /usr/sbin/nologin greentext \
    && install --directory --owner=greentext --group=greentext /volume

COPY --from=build /opt/venv /opt/venv
# The greentexts that were written for the project: `--data /srv/greentext/data/greentexts`.
COPY data/greentexts /srv/greentext/data/greentexts
COPY LICENSE /srv/greentext/LICENSE

ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1

LABEL org.opencontainers.image.title="Wholesome Greentext, training" \
      org.opencontainers.image.description="Makes datasets of greentexts, and models that write them" \
      org.opencontainers.image.licenses="MIT"

# The volume of a Job is mounted here.
WORKDIR /volume
USER 10001:10001
CMD ["gtx-train", "--help"]
