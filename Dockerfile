# One image for everything: `danqing serve` (alone, or as one of several API processes), `danqing worker`, Flower.
#
#   docker build -t danqing .                    # for NVIDIA GPUs; works without one, too
#   docker build -t danqing --target cpu --build-arg TORCH_INDEX_URL=… .
#                                                # a third of the size; docs/deployment.md tells which address
#   docker run --init --gpus all -p 127.0.0.1:8000:8000 -v danqing-data:/data danqing
#
# What packages need is downloaded again only when pyproject.toml or constraints.txt has changed.

FROM python:3.11-slim AS base

# curl asks for /health.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --home-dir /data --no-create-home danqing \
    && install --directory --owner=danqing --group=danqing /data /data/huggingface /pictures

# Inside a container every address is its own: who reaches the port is decided by what is published (`-p`), and by
# API_KEY. Models that are downloaded stay in the volume, as do pictures and jobs.
ENV DANQING_HOST=0.0.0.0 \
    DANQING_ALLOW_PUBLIC=true \
    DANQING_DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    PYTHONUNBUFFERED=1

WORKDIR /app
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=40s \
    CMD ["curl", "-f", "http://localhost:8000/health"]

# A stopping server lets running pictures end first: give it more than the usual 10 s (docker stop --time 60).
CMD ["danqing", "serve"]

# The names of what is installed, so that the source may change without that being done again.
FROM base AS names
# Further ones, say `torchao,sdnq` for weights in fewer bits: --build-arg EXTRAS=scaled,flower,otel,torchao
ARG EXTRAS=scaled,flower,otel
COPY pyproject.toml ./
RUN python -c 'import os, tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = [name for name in os.environ["EXTRAS"].split(",") if name]; \
print(*project["dependencies"], *(one for name in extras for one in project["optional-dependencies"][name]), sep="\n")' \
    > requirements.txt

FROM base AS cpu
ARG TORCH_INDEX_URL=
COPY constraints.txt ./
COPY --from=names /app/requirements.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} --requirement requirements.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt .
ENV CUDA_AVAILABLE=false
USER 1000:1000

# PyTorch's ordinary packages bring CUDA with them: the machine needs its driver and the NVIDIA container toolkit only.
FROM base AS cuda
# A compiler for DANQING_COMPILE_MODEL.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt ./
COPY --from=names /app/requirements.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src ./src
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt .
# What is compiled stays in the volume.
ENV TORCHINDUCTOR_CACHE_DIR=/data/torchinductor \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
