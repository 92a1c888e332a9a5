"""Several processes share the tests out (pytest-xdist): a module is run by one of them, in its order."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parent / "e2e" / "lab"
"""Its modules use labs of one name."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        together = SHARED if SHARED in item.path.parents else item.path
        item.add_marker(pytest.mark.xdist_group(str(together)))
