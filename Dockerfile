# The server with everything that it needs, a small model included. Takes GPUs where the container has them:
# docker run --gpus all -p 127.0.0.1:8000:8000 -v danqing-data:/data danqing
FROM python:3.11-slim

# curl asks for /health.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 danqing \
    && install --directory --owner=danqing /data

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt .

# Inside a container every address is its own: who reaches the port is decided by what is published (`-p`), and by
# API_KEY. Models that are downloaded stay in the volume, as do pictures and jobs.
ENV DANQING_HOST=0.0.0.0 \
    DANQING_ALLOW_PUBLIC=true \
    DANQING_DATA_DIR=/data \
    HF_HOME=/data/huggingface

USER danqing
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=40s \
    CMD ["curl", "-f", "http://localhost:8000/health"]

# A stopping server lets running pictures end first: give it more than the usual 10 s (docker stop --time 60).
CMD ["danqing", "serve"]
