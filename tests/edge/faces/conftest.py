from __future__ import annotations

import pytest

from edge.faces import FaceFinder


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder()
