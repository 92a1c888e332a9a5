"""Several processes share the tests out (pytest-xdist): what uses the same fixtures is run by one, in its order."""

from pathlib import Path

import pytest

E2E = Path(__file__).parent / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path)))


def _group(module: Path) -> str:
    """A module by itself, but the modules of a folder of end-to-end tests together: they share fixtures."""
    return str(module.parent if E2E in module.parent.parents else module)
