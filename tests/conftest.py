from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Before NumPy and torch are imported, here and in the programs that tests start: threads that spin
# while they wait for each other take a loaded machine many times as long, and on another number of
# them the last bits differ.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# How long an example takes says how busy the machine is.
settings.register_profile("patchwatch", deadline=None)
settings.load_profile("patchwatch")


@pytest.fixture(autouse=True)
def fresh_root_logger() -> Iterator[None]:
    """Commands set the level and the handlers of the process, which here runs many of them."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    yield
    for handler in root.handlers[:]:
        if type(handler).__module__.startswith("edge."):
            root.removeHandler(handler)
