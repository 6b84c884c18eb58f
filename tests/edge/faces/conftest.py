from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.faces import FaceFinder, open_finder


@pytest.fixture(scope="session")
def finder() -> Iterator[FaceFinder]:
    """dlib's, which takes a while to open."""
    with open_finder() as opened:
        yield opened
