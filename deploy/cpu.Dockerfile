# Patchwatch on a CPU, without a window. No image has been built of it so far, as no Docker engine was
# at hand: it was linted.
#   docker compose -f deploy/cpu.compose.yaml run --rm patchwatch score /data/picture.jpg
ARG PYTHON_TAG=3.12-slim-bookworm
FROM python:${PYTHON_TAG}

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    XDG_CACHE_HOME=/cache
WORKDIR /opt/patchwatch

COPY pyproject.toml README.md LICENSE patchwatch.py ./
COPY edge/ edge/
COPY training/ training/
COPY export/ export/
COPY benchmarks/ benchmarks/
COPY configs/ configs/

RUN pip install -e '.[headless]' \
    && patchwatch models

# 1000 is the first user of most systems, whose folders can then be written.
RUN useradd --uid 1000 --create-home patchwatch \
    && install -d -o patchwatch -g patchwatch /cache /data
USER 1000
WORKDIR /data
VOLUME ["/cache", "/data"]
ENTRYPOINT ["patchwatch"]
CMD ["--help"]
