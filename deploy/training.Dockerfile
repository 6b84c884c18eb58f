# Training of Patchwatch on a GPU: faces, their search, and every other training. No image has been
# built of it so far, and none has run: neither a Docker engine nor a GPU was at hand.
#   docker compose -f deploy/training.compose.yaml build
# builds it from the checkout's own folder; training.compose.yaml says how it is run.
# The base has torch with CUDA and cuDNN for Python 3.11; the driver is the host's.
ARG TORCH_TAG=2.6.0-cuda12.4-cudnn9-runtime
FROM pytorch/pytorch:${TORCH_TAG}

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib
WORKDIR /opt/patchwatch

COPY pyproject.toml README.md LICENSE patchwatch.py ./
COPY edge/ edge/
COPY training/ training/
COPY export/ export/
COPY benchmarks/ benchmarks/
COPY configs/ configs/

# The base's torch is kept, as another one may be built for another CUDA: the build ends here if it
# was replaced, or if a library of the search is missing.
RUN python -c 'import torch; print(f"torch=={torch.__version__}")' > /tmp/kept.txt \
    && pip install --constraint /tmp/kept.txt -e '.[headless,search,experiments]' \
    && python -c 'import torch; assert torch.version.cuda' \
    && python -c 'import cv2, mlflow, optuna, psycopg'

# 1000 is the first user of most systems, whose folders can then be written.
RUN useradd --uid 1000 --create-home trainer \
    && install -d -o trainer -g trainer /cache /runs /data
USER 1000
WORKDIR /runs
VOLUME ["/cache", "/runs"]
ENTRYPOINT ["patchwatch"]
CMD ["--help"]
