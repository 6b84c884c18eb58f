from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def fresh_root_logger() -> Iterator[None]:
    """Commands set the level and the handlers of the process, which here runs many of them."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    yield
    for handler in root.handlers[:]:
        if type(handler).__module__.startswith("edge."):
            root.removeHandler(handler)
