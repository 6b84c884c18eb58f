# Patchwatch for a Jetson with JetPack 6 (L4T 36). No image has been built of it so far, and none has
# run: neither a Docker engine nor a board was at hand. docs/jetson.md has the lines to try it with.
# For JetPack 6.0: --build-arg L4T_TAG=r36.3.0. There is no such base for JetPack 7.
ARG L4T_TAG=r36.4.0
FROM nvcr.io/nvidia/l4t-jetpack:${L4T_TAG}

# nvcc, which comes with the base, and g++ are needed at run time too: pycuda compiles kernels.
# No versions: they are those of the base's own releases of Ubuntu and L4T.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        g++ \
        gstreamer1.0-plugins-bad \
        gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good \
        gstreamer1.0-tools \
        python3-dev \
        python3-libnvinfer \
        python3-venv \
    # The base has an OpenCV of NVIDIA's; Ubuntu's must not lie over it.
    && (python3 -c 'import cv2' || apt-get install -y --no-install-recommends python3-opencv) \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/patchwatch/.venv/bin:/usr/local/cuda/bin:$PATH \
    PATCHWATCH_ENGINES=/var/cache/patchwatch \
    XDG_CACHE_HOME=/var/cache/patchwatch
WORKDIR /opt/patchwatch

# Before the program, so that a change of it does not compile pycuda again. NumPy 1, as the system's
# OpenCV was built for it.
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --no-cache-dir 'numpy>=1.24,<2' 'pycuda>=2025.1.2'

COPY pyproject.toml README.md LICENSE patchwatch.py ./
COPY edge/ edge/
COPY training/ training/
COPY export/ export/
COPY benchmarks/ benchmarks/
COPY configs/ configs/

# The build ends here if this OpenCV lacks GStreamer, or does not go with this NumPy.
RUN .venv/bin/pip install --no-cache-dir -e . \
    && python -c 'import cv2; assert cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)'

# 1000 is the first user of most systems, whose folders can then be written. The group render has
# another number on each: docker run --group-add names it.
RUN useradd --uid 1000 --create-home --groups video patchwatch \
    && install -d -o patchwatch -g patchwatch /var/cache/patchwatch /work
USER 1000
WORKDIR /work
VOLUME /var/cache/patchwatch
ENTRYPOINT ["patchwatch"]
CMD ["doctor"]
