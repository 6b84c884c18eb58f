"""These tests come last: one of them looks at how all the others used the fake."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of this folder behind all others, in their own order."""
    items.sort(key=lambda item: item.path.is_relative_to(_HERE))
